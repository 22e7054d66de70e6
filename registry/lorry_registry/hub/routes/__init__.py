"""The calls of the protocol, by theme."""
