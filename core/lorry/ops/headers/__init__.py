"""What files say of themselves: metadata, trigger words, training, recipes."""
