"""What is done with adapters and bases: read, identify, convert, merge, bake, compare, run."""
