"""What versions were made of, and making them again."""
