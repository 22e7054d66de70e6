"""Containers (how tensors become bytes) and dialects (how tools name them)."""
