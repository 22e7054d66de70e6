"""Linking: versions put where another tool looks for files."""
