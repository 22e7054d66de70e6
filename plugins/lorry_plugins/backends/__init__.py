"""What runs a base model with adapters attached, and the tiny bases that ship inside."""
