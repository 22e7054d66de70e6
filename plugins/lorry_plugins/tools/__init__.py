"""Tools that work on adapters: merge methods, and more to come."""
