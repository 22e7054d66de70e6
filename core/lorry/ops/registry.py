"""The Python interface of a store."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from lorry.errors import InvalidArgument
from lorry.plugin.host import Host, host


def registry(home: str | Path | None = None, *, store: str = "local", plugins: Host | None = None) -> Any:  # noqa: ANN401  the interface is the store's own
    """Open a store's Python interface: the local registry, at `home`, at LORRY_HOME or in the platform's data folder.

    Raises UnknownName for a store that is not installed, InvalidArgument for one without such an interface.
    """
    found = (plugins or host()).get("stores", store)
    if not found.api:
        raise InvalidArgument(f"the store {store!r} has no Python interface; it only answers references")
    module, _, attribute = found.api.partition(":")
    return getattr(importlib.import_module(module), attribute)(home)
