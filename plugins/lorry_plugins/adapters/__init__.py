"""Kinds of adapter: what the tensors of a layer mean."""
