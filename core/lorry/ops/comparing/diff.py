"""Comparing two adapters by what they do: ‖ΔW‖ of each, the error between them and their cosine, layer by layer.

For kinds with factors the deltas are never built (core/lorry/algebra/gram.py); in float64, so that an error of 1e-15
of the norm is seen.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import Incompatible
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import require_torch
from lorry.ir.token import Token
from lorry.ops.baking.change import added, widened
from lorry.ops.bases.base import Base
from lorry.plugin.host import Host, host
from lorry.plugin.kind import Factors, Kind

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDiff:
    """One parameter in both adapters: the norms of its deltas, ‖Δ₁ - Δ₂‖ over the larger norm, and the cosine."""

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
        return _worst([*(each.error for each in self.layers), *self.tokens.values()])

    @property
    def worst_first(self) -> list[LayerDiff]:
        """Return the layers, the most different first; not-a-number before all."""
        return sorted(self.layers, key=lambda each: -math.inf if math.isnan(each.error) else -each.error)

    def without(self, names: Container[str]) -> Diff:
        """Leave out layers and tokens by name, such as those that a lossy conversion left out and told."""
        return replace(
            self,
            layers=tuple(each for each in self.layers if str(each.path) not in names),
            tokens={text: error for text, error in self.tokens.items() if text not in names},
        )


def diff(first: Adapter, second: Adapter, base: Base | None = None, plugins: Host | None = None) -> Diff:
    """Compare two adapters of one base; kinds that need the weight ask for `base`.

    Raises Incompatible for adapters of different bases.
    """
    require_torch("comparing adapters")
    if first.base != second.base:
        raise Incompatible(f"one adapter is for {first.base}, the other for {second.base}; there is nothing to compare")
    ours, theirs = _by_param(first), _by_param(second)
    compare = _Comparison(base, plugins or host())
    return Diff(
        layers=tuple(compare.layers(key, ours.get(key, []), theirs.get(key, [])) for key in {**ours, **theirs}),
        only_first=_missing(ours, theirs) + tuple(sorted(first.tokens.keys() - second.tokens.keys())),
        only_second=_missing(theirs, ours) + tuple(sorted(second.tokens.keys() - first.tokens.keys())),
        tokens={
            text: _token_error(first.tokens.get(text), second.tokens.get(text))
            for text in {**first.tokens, **second.tokens}
        },
        metadata={
            key: (first.metadata.get(key), second.metadata.get(key))
            for key in {**first.metadata, **second.metadata}
            if first.metadata.get(key) != second.metadata.get(key)
        },
    )


_Key = tuple[ModulePath, str]


class _Products(NamedTuple):
    """⟨Δ₁, Δ₁⟩, ⟨Δ₂, Δ₂⟩, ⟨Δ₁, Δ₂⟩ and ‖Δ₁ - Δ₂‖."""

    first: float
    second: float
    both: float
    error: float


class _Comparison:
    """Compares the layers of two adapters at one parameter, with a base's weights where kinds need them."""

    def __init__(self, base: Base | None, plugins: Host) -> None:
        self._base, self._plugins = base, plugins

    def layers(self, key: _Key, first: Sequence[Layer], second: Sequence[Layer]) -> LayerDiff:
        if all(self._kind(layer).factors for layer in (*first, *second)):
            found = self._by_factors(first, second)
        else:
            found = self._by_deltas(key, first, second)
        ours, theirs = math.sqrt(max(found.first, 0.0)), math.sqrt(max(found.second, 0.0))
        size, norm = max(ours, theirs), ours * theirs
        return LayerDiff(
            path=key[0],
            param=key[1],
            first=ours,
            second=theirs,
            error=found.error / size if size else 0.0,
            cosine=found.both / norm if norm else float(ours == theirs),
        )

    def _kind(self, layer: Layer) -> Kind:
        kind: Kind = self._plugins.get("kinds", layer.kind)
        return kind

    def _by_factors(self, first: Sequence[Layer], second: Sequence[Layer]) -> _Products:
        import torch

        from lorry.algebra.gram import gram, norm

        one, two = self._factors(first), self._factors(second)
        if one is None or two is None:
            known = one or two
            size = norm(known) if known else 0.0
            return _Products(size**2 if one else 0.0, size**2 if two else 0.0, 0.0, size)
        if (one.up.shape[0], one.down.shape[1]) != (two.up.shape[0], two.down.shape[1]):
            raise Incompatible("the adapters are for models of different sizes; there is nothing to compare")
        difference = Factors(torch.cat([one.down, two.down]), torch.cat([one.up, -two.up], 1))
        return _Products(norm(one) ** 2, norm(two) ** 2, float(gram([one, two])[0, 1]), norm(difference))

    def _factors(self, layers: Sequence[Layer]) -> Factors | None:
        import torch

        made = [(found(layer), layer.scale) for layer in layers if (found := self._kind(layer).factors)]
        if not made:
            return None
        up = torch.cat([factors.up.double() * scale for factors, scale in made], 1)
        return Factors(torch.cat([factors.down.double() for factors, _ in made]), up)

    def _by_deltas(self, key: _Key, first: Sequence[Layer], second: Sequence[Layer]) -> _Products:
        weight = self._weight(key, (*first, *second))
        a, b = self._delta(weight, first), self._delta(weight, second)
        shape = [max(sizes) for sizes in zip(a.shape, b.shape, strict=True)]
        a, b = widened(a, shape), widened(b, shape)
        return _Products(float((a * a).sum()), float((b * b).sum()), float((a * b).sum()), float((a - b).norm()))

    def _weight(self, key: _Key, layers: Sequence[Layer]) -> Tensor:
        import torch

        name = f"{key[0]}.{key[1]}"
        if self._base is not None and name in self._base.tensors:
            return self._base.tensors[name].torch(dtype=torch.float32)
        kind = self._kind(layers[0])
        if kind.target is None or any(self._kind(layer).needs_weight for layer in layers):
            kinds = ", ".join(sorted({layer.kind for layer in layers}))
            raise Incompatible(f"what {kinds} does at {name} depends on the weight; say which base (base=)")
        return torch.zeros([max(size, 1) for size in kind.target(layers[0].slots)])

    def _delta(self, weight: Tensor, layers: Sequence[Layer]) -> Tensor:
        total = weight.double() * 0
        for layer in layers:
            apply = self._kind(layer).apply
            if apply is not None:
                changed = apply(weight, layer)
                total = added(total, (changed - widened(weight, changed.shape)).double())
        return total


def _by_param(adapter: Adapter) -> dict[_Key, list[Layer]]:
    found: dict[_Key, list[Layer]] = {}
    for path, layers in adapter.layers.items():
        for layer in layers:
            found.setdefault((path, layer.param), []).append(layer)
    return found


def _missing(ours: Mapping[_Key, object], theirs: Mapping[_Key, object]) -> tuple[str, ...]:
    return tuple(f"{path}.{param}" for path, param in ours if (path, param) not in theirs)


def _worst(errors: Iterable[float]) -> float:
    """Return the largest error; not-a-number is larger than any."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error, default=0.0)


def _token_error(first: Token | None, second: Token | None) -> float:
    if first is None or second is None or first.vectors.keys() != second.vectors.keys():
        return 1.0
    pairs = [(ours, second.vectors[name]) for name, ours in first.vectors.items()]
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return 1.0
    values = [(ours.torch().double(), theirs.torch().double()) for ours, theirs in pairs]
    return _worst(float((a - b).norm() / max(float(a.norm()), 1e-300)) for a, b in values)
