"""LoHa: the Hadamard product of two low-rank deltas.

    delta = scale · (w1_a · w1_b) ⊙ (w2_a · w2_b)            convolutions flattened to (out, in · kernel)
    in Tucker form each factor is Σ_ij t[i, j, k] · w_a[i, o] · w_b[j, n]

Sources: Hyeon-Woo et al., FedPara (arXiv:2108.06098); LyCORIS lycoris/modules/loha.py and
lycoris/functional/general.py (`rebuild_tucker`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.decomposition import decomposed
from lorry_plugins.adapters.dense import dense

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_SUFFIXES = {
    "hada_w1_a": "w1_a", "hada_w1_b": "w1_b", "hada_w2_a": "w2_a", "hada_w2_b": "w2_b",
    "hada_t1": "t1", "hada_t2": "t2", "alpha": "alpha",
}  # fmt: skip
_OPTIONAL = frozenset({"t1", "t2", "alpha"})


def rank(slots: Mapping[str, TensorRef]) -> int:
    """Return the rank; raise InvalidFile where the factors do not fit one another."""
    if (
        not all(_fits(slots, number) for number in "12")
        or ("t1" in slots) != ("t2" in slots)
        or (
            target(slots) != (slots["w2_a"].shape[int("t2" in slots) and 1], slots["w2_b"].shape[1], *target(slots)[2:])
        )
    ):
        shapes = {slot: list(ref.shape) for slot, ref in slots.items()}
        raise InvalidFile(f"shapes {shapes} make no LoHa")
    return slots["w1_b"].shape[0]


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the weight; without a Tucker core its kernel is not told."""
    columns = slots["w1_b"].shape[1]
    if "t1" in slots:
        return (slots["w1_a"].shape[1], columns, *slots["t1"].shape[2:])
    return (slots["w1_a"].shape[0], columns, -1)


def delta(layer: Layer) -> Tensor:
    """Return the delta (out, in · kernel) in float32, its scale left out."""
    return _factor(layer, "1") * _factor(layer, "2")


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + delta in float32, in the weight's shape."""
    return weight.float() + layer.scale * delta(layer).reshape(weight.shape).to(weight.device)


def _dense(layer: Layer) -> Layer:
    rows, *inner = target(layer.slots)
    return dense(layer, delta, rows, math.prod(size for size in inner if size != -1))


def _fits(slots: Mapping[str, TensorRef], number: str) -> bool:
    a, b, core = slots[f"w{number}_a"], slots[f"w{number}_b"], slots.get(f"t{number}")
    if len(a.shape) != 2 or len(b.shape) != 2 or not a.numel or not b.numel:  # noqa: PLR2004  matrices
        return False
    return a.shape[1] == b.shape[0] if core is None else core.shape[:2] == (a.shape[0], b.shape[0])


def _factor(layer: Layer, number: str) -> Tensor:
    import torch

    a, b = (layer.slots[f"w{number}_{each}"].torch(dtype=torch.float32) for each in "ab")
    if f"t{number}" not in layer.slots:
        return a @ b
    core = layer.slots[f"t{number}"].torch(dtype=torch.float32)
    return torch.einsum("ij...,io,jn->on...", core, a, b).flatten(1)


LOHA = Kind(
    name="loha",
    title="LoHa",
    spellings=tuple(
        Spelling(family=family, slots=_SUFFIXES, optional=_OPTIONAL) for family in ("kohya", "peft-folder")
    ),
    apply=apply,
    rank=rank,
    target=target,
    row_slots=("w1_a", "w2_a"),
    whole_slots=("t1", "t2"),
    dense=_dense,
    samples="lorry_plugins.adapters.samples:LOHA",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer LoHa, plain and weight-decomposed."""
    return [LOHA, decomposed(LOHA, "loha-dora", "LoHa with DoRA")]
