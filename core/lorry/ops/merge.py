"""Merging adapters: the checks every method needs, then the method itself."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ops.bake import Weighted, check_understood, weighted
from lorry.ops.identify import targets
from lorry.plugin.host import Host, host


def merge(
    adapters: Sequence[Weighted], method: str = "sum", *, partial: bool = False, plugins: Host | None = None
) -> Adapter:
    """Make one adapter of several; "sum" is exactly Σ wᵢ·ΔWᵢ, whatever the ranks.

    Weights apply to layers; learned tokens are taken over as they are. Raises Incompatible for adapters of
    different bases or sizes, Conflict for one token with two meanings, UnknownName for the method.
    """
    plugins = plugins or host()
    pairs = weighted(adapters)
    if not pairs:
        raise InvalidArgument("there is nothing to merge; give at least one adapter")
    for adapter, _ in pairs:
        check_understood(adapter, partial=partial)
    _check_alike([adapter for adapter, _ in pairs], plugins)
    merged: Adapter = plugins.get("merge_methods", method).merge(pairs)
    return merged


def _check_alike(adapters: Sequence[Adapter], plugins: Host) -> None:
    bases = sorted({adapter.base for adapter in adapters})
    if len(bases) > 1:
        raise Incompatible(f"the adapters are for different bases: {', '.join(bases)}; merge those of one base")
    shapes: dict[object, tuple[int, ...]] = {}
    for adapter in adapters:
        for path, shape in targets(adapter.layers, plugins):
            known = shapes.setdefault(path, shape)
            if known != shape:
                raise Incompatible(
                    f"the adapters are for models of different sizes: {path} is {list(known)} in one "
                    f"and {list(shape)} in another"
                )
