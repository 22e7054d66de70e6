"""From bytes to an adapter: which container and dialect, which base, what each key is."""
