"""Whether a file may be let in, and who will load it."""
