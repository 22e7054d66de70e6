"""Files and places, whatever is in them: digests, drafts that are renamed, many at once."""
