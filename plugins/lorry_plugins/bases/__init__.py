"""Tables of base models: data only, one file a family."""
