"""What adapters do, held against one another."""
