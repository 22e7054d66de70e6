"""Sources: what brings other people's files from elsewhere."""
