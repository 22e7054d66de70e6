"""Remotes: other places that hold versions, and how versions get there and back."""
