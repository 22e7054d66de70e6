"""The registry's commands, one file each."""
