"""Comparing two adapters by what they do: ‖ΔW‖ of each, the error between them and their cosine, layer by layer.

For kinds with factors the deltas are never built: with ΔW = U·D, ⟨ΔW₁, ΔW₂⟩ = tr((U₁ᵀU₂)(D₂D₁ᵀ)), reckoned in
float64 so that differences down to 1e-8 of the norm are seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorry.errors import Incompatible
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import require_torch
from lorry.ir.token import Token
from lorry.ops.base import Base
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDiff:
    """One parameter in both adapters: the norms of its deltas, ‖Δ₁ − Δ₂‖ over the larger norm, and the cosine."""

    path: ModulePath
    param: str
    first: float
    second: float
    error: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """All differences between two adapters; `error` is the largest relative error of any layer or token.

    A layer that only one of them has is compared with no change at all: an error of 1, or 0 if it does nothing.
    """

    layers: tuple[LayerDiff, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    tokens: Mapping[str, float]
    metadata: Mapping[str, tuple[str | None, str | None]]

    @property
    def error(self) -> float:
        """Return the largest relative error."""
        return max([*(each.error for each in self.layers), *self.tokens.values()], default=0.0)


def diff(first: Adapter, second: Adapter, base: Base | None = None, plugins: Host | None = None) -> Diff:
    """Compare two adapters of one base; kinds that need the weight ask for `base`.

    Raises Incompatible for adapters of different bases.
    """
    plugins = plugins or host()
    require_torch("comparing adapters")
    if first.base != second.base:
        raise Incompatible(f"one adapter is for {first.base}, the other for {second.base}; there is nothing to compare")
    ours, theirs = _by_param(first), _by_param(second)
    keys = {**first.metadata, **second.metadata}
    both = {**ours, **theirs}
    return Diff(
        layers=tuple(_compare(*key, ours.get(key, []), theirs.get(key, []), base, plugins) for key in both),
        only_first=tuple(f"{path}.{param}" for path, param in ours if (path, param) not in theirs)
        + tuple(sorted(first.tokens.keys() - second.tokens.keys())),
        only_second=tuple(f"{path}.{param}" for path, param in theirs if (path, param) not in ours)
        + tuple(sorted(second.tokens.keys() - first.tokens.keys())),
        tokens={text: _token_error(first.tokens.get(text), second.tokens.get(text)) for text in {**first.tokens, **second.tokens}},
        metadata={
            key: (first.metadata.get(key), second.metadata.get(key))
            for key in keys
            if first.metadata.get(key) != second.metadata.get(key)
        },
    )


def _by_param(adapter: Adapter) -> dict[tuple[ModulePath, str], list[Layer]]:
    found: dict[tuple[ModulePath, str], list[Layer]] = {}
    for path, layers in adapter.layers.items():
        for layer in layers:
            found.setdefault((path, layer.param), []).append(layer)
    return found


def _compare(
    path: ModulePath, param: str, first: Sequence[Layer], second: Sequence[Layer], base: Base | None, plugins: Host
) -> LayerDiff:
    kinds = [plugins.get("kinds", layer.kind) for layer in (*first, *second)]
    if all(kind.factors for kind in kinds):
        aa, bb, ab, error = _by_factors(first, second, plugins)
    else:
        aa, bb, ab, error = _by_deltas(path, param, first, second, base, plugins)
    size = math.sqrt(max(aa, bb, 0.0))
    norm = math.sqrt(max(aa, 0.0) * max(bb, 0.0))
    return LayerDiff(
        path=path,
        param=param,
        first=math.sqrt(max(aa, 0.0)),
        second=math.sqrt(max(bb, 0.0)),
        error=error / size if size else 0.0,
        cosine=ab / norm if norm else 1.0 if aa == bb else 0.0,
    )


def _by_factors(first: Sequence[Layer], second: Sequence[Layer], plugins: Host) -> tuple[float, float, float, float]:
    import torch

    def side(layers: Sequence[Layer]) -> tuple[Tensor, Tensor] | None:
        if not layers:
            return None
        made = [(plugins.get("kinds", layer.kind).factors(layer), layer.scale) for layer in layers]
        up = torch.cat([factors.up.double() * scale for factors, scale in made], 1)
        return up, torch.cat([factors.down.double() for factors, _ in made])

    def inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
        return float(((a[0].T @ b[0]) * (a[1] @ b[1].T)).sum())

    one, two = side(first), side(second)
    present = one or two
    if present is None:
        return 0.0, 0.0, 0.0, 0.0
    a = one or (present[0] * 0, present[1])
    b = two or (present[0] * 0, present[1])
    if (a[0].shape[0], a[1].shape[1]) != (b[0].shape[0], b[1].shape[1]):
        raise Incompatible("the adapters are for models of different sizes; there is nothing to compare")
    difference = torch.cat([a[0], -b[0]], 1), torch.cat([a[1], b[1]])
    # Through the triangular factors of both sides no square is ever subtracted from another of its size.
    error = torch.linalg.matrix_norm(torch.linalg.qr(difference[0]).R @ torch.linalg.qr(difference[1].T).R.T)
    return inner(a, a), inner(b, b), inner(a, b), float(error)


def _by_deltas(
    path: ModulePath, param: str, first: Sequence[Layer], second: Sequence[Layer], base: Base | None, plugins: Host
) -> tuple[float, float, float, float]:
    import torch

    name = f"{path}.{param}"
    if base is not None and name in base.tensors:
        weight = base.tensors[name].torch(dtype=torch.float32)
    else:
        kind = next((plugins.get("kinds", layer.kind) for layer in (*first, *second)), None)
        if kind is None or kind.needs_weight or kind.target is None:
            kinds = ", ".join(sorted({layer.kind for layer in (*first, *second)}))
            raise Incompatible(f"what {kinds} does at {name} depends on the weight; say which base (base=)")
        weight = torch.zeros([max(size, 1) for size in kind.target((*first, *second)[0].slots)])

    def delta(layers: Sequence[Layer]) -> Tensor:
        changed = [plugins.get("kinds", layer.kind).apply(weight, layer) - weight for layer in layers]
        return torch.stack([torch.zeros_like(weight), *changed]).sum(0).double()

    a, b = delta(first), delta(second)
    return float((a * a).sum()), float((b * b).sum()), float((a * b).sum()), float((a - b).norm())


def _token_error(first: Token | None, second: Token | None) -> float:
    if first is None or second is None or first.vectors.keys() != second.vectors.keys():
        return 1.0
    worst = 0.0
    for name, ours in first.vectors.items():
        theirs = second.vectors[name]
        if ours.shape != theirs.shape:
            return 1.0
        a, b = ours.torch().double(), theirs.torch().double()
        worst = max(worst, float((a - b).norm() / max(float(a.norm()), 1e-300)))
    return worst
