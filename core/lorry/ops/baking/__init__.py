"""Adapters in a base model's weights, and out again; a base run with them."""
