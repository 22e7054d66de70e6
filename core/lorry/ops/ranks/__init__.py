"""Fewer ranks for the same: how many each layer keeps, and what that costs."""
