"""What a format cannot hold as it is, made a LoRA of a rank by truncated SVD, with the energy that this discards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from lorry.errors import Incompatible
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ops.bases.base import Base
from lorry.ops.merging.deltas import Deltas, Parameter
from lorry.plugin.host import Host

RANK = 32
"""Rank where none is asked for."""

_MATRIX = 2


class Approximation(NamedTuple):
    """A layer that became a LoRA: the kinds it was of, its rank now, ‖ΔW‖, and ‖ΔW - LoRA‖ (Frobenius)."""

    kinds: tuple[str, ...]
    rank: int
    norm: float
    tail: float

    @property
    def energy_lost(self) -> float:
        """Share of ‖ΔW‖² that is not held; 0 for a delta of zeros."""
        return (self.tail / self.norm) ** 2 if self.norm else 0.0


class Approximated(NamedTuple):
    """An adapter with LoRAs in place of some layers, what they discard, and why others could not be replaced."""

    adapter: Adapter
    layers: Mapping[str, Approximation]
    refused: Mapping[str, str]


def energy_lost(approximations: Iterable[Approximation]) -> float:
    """Return the share of all layers' ‖ΔW‖² together that is not held."""
    every = list(approximations)
    norm = math.fsum(each.norm**2 for each in every)
    return math.fsum(each.tail**2 for each in every) / norm if norm else 0.0


def approximate(
    adapter: Adapter, names: Iterable[str], plugins: Host, *, rank: int | None = None, base: Base | None = None
) -> Approximated:
    """Replace the layers at these module paths that have no factors by a LoRA of `rank` (32) at most.

    One layer is in memory at a time. Kinds that depend on the weight need `base`; what no LoRA can do (a bias, a
    norm, another shape, a step in time) is told in `refused`.
    """
    wanted, deltas = set(names), Deltas(base, plugins)
    layers = dict(adapter.layers)
    done: dict[str, Approximation] = {}
    refused: dict[str, str] = {}
    for path, stack in adapter.layers.items():
        if str(path) not in wanted:
            continue
        whole = [layer for layer in stack if deltas.kind(layer).factors is None]
        if not whole or any(layer.param != "weight" for layer in whole):
            continue
        try:
            made, done[str(path)] = _low_rank(path, whole, deltas, rank or RANK)
        except Incompatible as error:
            refused[str(path)] = str(error)
        else:
            layers[path] = (*(layer for layer in stack if layer not in whole), made)
    return Approximated(replace(adapter, layers=layers), done, refused)


def _low_rank(path: ModulePath, stack: list[Layer], deltas: Deltas, rank: int) -> tuple[Layer, Approximation]:
    from lorry.algebra.dense import decompose
    from lorry.ops.ranks.layers import low_rank_layer

    at = Parameter(path, "weight")
    shape = deltas.shape(at, stack)
    if len(shape) < _MATRIX:
        raise Incompatible(f"{at} has one axis, and so no rank")
    for layer in stack:
        if deltas.kind(layer).multiplies_output(layer):
            raise Incompatible(f"{layer.kind} at {path} may multiply the bias too, and no LoRA can")
    delta = deltas.whole(at, stack, shape).flatten(1)
    cut = decompose(delta, min(rank, *delta.shape))
    made = low_rank_layer(at, cut.factors, shape, "F32", deltas.plugins)
    return made, Approximation(tuple(dict.fromkeys(layer.kind for layer in stack)), cut.rank, cut.norm, cut.tail)
