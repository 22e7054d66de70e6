"""Adding: other people's files, from quarantine to a version of the registry."""
