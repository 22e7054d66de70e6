"""What names mean: references, versions and ranges of them, and which names are taken at all."""
