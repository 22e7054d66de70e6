"""A registry's home folder: blobs, records, and the index made of them."""
