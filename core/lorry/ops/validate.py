"""Checking an adapter thoroughly: what is wrong with it, and what could be better."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lorry.ir.adapter import Adapter
from lorry.ir.tensor import TensorRef, require_torch
from lorry.ops.base import Base
from lorry.ops.claims import conflicts
from lorry.ops.read import check_fits
from lorry.plugin.host import Host, host

_LARGEST_SCALE = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding: `error` for what makes the adapter wrong or unusable, `warning` for what is doubtful."""

    level: str
    where: str
    what: str


def validate(adapter: Adapter, base: Base | None = None, plugins: Host | None = None) -> tuple[Problem, ...]:
    """Return every problem found: keys not understood, numbers that make no sense, claims that are not true.

    Reads every tensor, and a file again whose header tells a hash. With `base`, shapes are held against it too, and
    Incompatible is raised as by opening.
    """
    plugins = plugins or host()
    require_torch("checking the numbers")
    found = [Problem(level="error", where=key, what=f"not understood: {why}") for key, why in adapter.report.unmapped]
    found += [Problem(level="warning", where=what, what=why) for what, why in adapter.report.ambiguous]
    found += [
        Problem(level="warning", where=each.key, what=str(each)) for each in conflicts(adapter, plugins, hashed=True)
    ]
    for path, layers in adapter.layers.items():
        for layer in layers:
            if not math.isfinite(layer.scale) or abs(layer.scale) > _LARGEST_SCALE:
                found.append(Problem(level="error", where=str(path), what=f"a scale of {layer.scale:g} makes no sense"))
            if layer.scale == 0:
                found.append(Problem(level="warning", where=str(path), what="its scale is 0, so it does nothing"))
            found += [_not_finite(f"{path} {slot}", ref) for slot, ref in layer.slots.items() if not _finite(ref)]
    for text, token in adapter.tokens.items():
        found += [_not_finite(f"{text} {name}", ref) for name, ref in token.vectors.items() if not _finite(ref)]
    if base is not None:
        check_fits(adapter, base, plugins)
    return tuple(found)


def _finite(ref: TensorRef) -> bool:
    return bool(ref.torch().float().isfinite().all()) if ref.numel else True


def _not_finite(where: str, ref: TensorRef) -> Problem:
    return Problem(level="error", where=where, what=f"{ref.dtype}{list(ref.shape)} holds NaN or infinity")
