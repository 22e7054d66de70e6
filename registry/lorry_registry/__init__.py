"""A versioned registry of adapters: immutable versions, movable aliases, lineage, and every byte checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorry_registry.home.store import PublishIncomplete as PublishIncomplete
    from lorry_registry.registry import Registry as Registry
    from lorry_registry.version.card import Card as Card

_WHERE = {
    "Card": "lorry_registry.version.card",
    "PublishIncomplete": "lorry_registry.home.store",
    "Registry": "lorry_registry.registry",
}

__all__ = ["Card", "PublishIncomplete", "Registry"]


def __getattr__(name: str) -> object:
    # The plugin beside this file is imported by every command; the registry only by those that use it.
    if name not in _WHERE:
        raise AttributeError(f"module 'lorry_registry' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
