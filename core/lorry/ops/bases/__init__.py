"""Base models on disk: every tensor by our own name, in any layout."""
