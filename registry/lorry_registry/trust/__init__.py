"""Whether bytes are what was published, and who stands for them."""
