"""Running a base model with adapters attached."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lorry.errors import Incompatible
from lorry.ir.tensor import require_torch
from lorry.ops.baking.bake import Weighted, check_understood, weighted
from lorry.ops.bases.base import Base, open_base
from lorry.ops.reading.read import check_fits
from lorry.plugin.backend import Backend, Load, Model
from lorry.plugin.host import Host, host


@contextmanager
def run(
    base: str | Path | Base,
    adapters: Sequence[Weighted] = (),
    *,
    device: str = "auto",
    dtype: str | None = None,
    plugins: Host | None = None,
) -> Iterator[Model]:
    """Load a base (a folder, or a name some store knows) with adapters attached, and free it at the end.

    `device` is "auto" (the GPU where there is one), "cpu", "cuda" …; `dtype` is "float32", "float16",
    "bfloat16" or None for the backend's choice. Raises Incompatible where no installed backend runs the base.
    """
    plugins = plugins or host()
    require_torch("running a model")
    opened = base if isinstance(base, Base) else open_base(base, plugins)
    pairs = weighted(adapters)
    for adapter, _ in pairs:
        check_understood(adapter)
        check_fits(adapter, opened, plugins)
    model = load(backend_for(opened, plugins))(opened.path, device, dtype)
    try:
        if pairs:
            model.attach(pairs)
        yield model
    finally:
        model.close()


def backend_for(base: Base, plugins: Host) -> Backend:
    """Return the backend that runs a base; raise Incompatible where none does."""
    for backend in plugins.backends().values():
        if base.id in backend.bases:
            return backend
    known = ", ".join(f"{backend.name} ({', '.join(backend.bases)})" for backend in plugins.backends().values())
    raise Incompatible(f"no installed backend runs {base.id}; installed: {known or 'none'}")


def load(backend: Backend) -> Load:
    """Import what loads a backend's models."""
    module, _, attribute = backend.load.partition(":")
    loaded: Load = getattr(importlib.import_module(module), attribute)
    return loaded
