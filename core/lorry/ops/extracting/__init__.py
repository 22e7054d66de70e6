"""An adapter of what a fine-tune changed."""
