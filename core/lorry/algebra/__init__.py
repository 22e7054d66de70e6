"""Numerics on torch tensors: singular values, low rank, choosing ranks. No adapters, no files, no plugins."""
