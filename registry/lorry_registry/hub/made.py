"""Files that were made to be served (cards, weights for diffusers): blobs of the registry as any other.

Of a home that cannot be written to they are kept beside it.
"""

from __future__ import annotations

from lorry_registry.home.blobs import Blobs
from lorry_registry.home.store import LocalStore


def making(store: LocalStore) -> Blobs:
    """Return the blobs that what is made is added to."""
    store.layout.scratch.prepare()
    return _beside(store)


def holding(store: LocalStore, sha256: str) -> Blobs:
    """Return the blobs that a served file is among."""
    return store.blobs if store.layout.writable or store.blobs.path(sha256).is_file() else _beside(store)


def _beside(store: LocalStore) -> Blobs:
    layout = store.layout.scratch
    return Blobs(layout.blobs, layout.drafts)
