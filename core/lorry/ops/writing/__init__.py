"""From an adapter to bytes: a dialect's keys, what was read put back as it was, one rename at the end."""
