"""LoKr: the Kronecker product of a small and a larger matrix, either of them full or low-rank.

    delta = scale · w1 ⊗ w2,   w1 or w1_a · w1_b,   w2 or w2_a · w2_b, convolutions flattened to (out, in · kernel)
    in Tucker form w2 = Σ_ij t2[i, j, k] · w2_a[i, o] · w2_b[j, n]

With both matrices full there is no rank, and alpha scales nothing; peft divides by its configured rank.
Sources: Yeh et al., LyCORIS (arXiv:2309.14859) section 3; LyCORIS lycoris/modules/lokr.py; peft
src/peft/tuners/lokr/layer.py (`get_delta_weight`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.decomposition import decomposed
from lorry_plugins.adapters.dense import dense
from lorry_plugins.adapters.scaling import scaled

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_SUFFIXES = {
    "lokr_w1": "w1", "lokr_w1_a": "w1_a", "lokr_w1_b": "w1_b", "lokr_w2": "w2", "lokr_w2_a": "w2_a",
    "lokr_w2_b": "w2_b", "lokr_t2": "t2", "alpha": "alpha",
}  # fmt: skip
_OPTIONAL = frozenset(_SUFFIXES.values())


def rank(slots: Mapping[str, TensorRef]) -> int:
    """Return the rank, 0 where both matrices are full; raise InvalidFile where factors do not fit one another."""
    b = slots.get("w2_b", slots.get("w1_b"))
    if not all(_fits(slots, number) for number in "12"):
        shapes = {slot: list(ref.shape) for slot, ref in slots.items()}
        raise InvalidFile(f"shapes {shapes} make no LoKr")
    return b.shape[0] if b else 0


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the weight; where both factors are matrices its kernel is not told."""
    (rows1, columns1), (rows2, columns2, *kernel) = _shape(slots, "1"), _shape(slots, "2")
    return (rows1 * rows2, columns1 * columns2, *(kernel or (-1,)))


def delta(layer: Layer) -> Tensor:
    """Return the delta (out, in · kernel) in float32, its scale left out."""
    import torch

    return torch.kron(_factor(layer, "1"), _factor(layer, "2").flatten(1))


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + delta in float32, in the weight's shape."""
    return weight.float() + layer.scale * delta(layer).reshape(weight.shape).to(weight.device)


def _dense(layer: Layer) -> Layer:
    rows, *inner = target(layer.slots)
    return dense(layer, delta, rows, math.prod(size for size in inner if size != -1))


def _stands(slots: Mapping[str, TensorRef]) -> bool:
    return all((f"w{number}" in slots) != ({f"w{number}_a", f"w{number}_b"} <= slots.keys()) for number in "12") and (
        "t2" not in slots or "w2_a" in slots
    )


def _fits(slots: Mapping[str, TensorRef], number: str) -> bool:
    full, core = slots.get(f"w{number}"), slots.get("t2") if number == "2" else None
    if full is not None:
        return len(full.shape) == 2 or (number == "2" and len(full.shape) > 2)  # noqa: PLR2004  w2 has the kernel
    a, b = slots[f"w{number}_a"], slots[f"w{number}_b"]
    if len(a.shape) != 2 or len(b.shape) != 2 or not b.shape[0]:  # noqa: PLR2004  matrices
        return False
    return a.shape[1] == b.shape[0] if core is None else core.shape[:2] == (a.shape[0], b.shape[0])


def _shape(slots: Mapping[str, TensorRef], number: str) -> tuple[int, ...]:
    full, core = slots.get(f"w{number}"), slots.get("t2") if number == "2" else None
    if full is not None:
        return full.shape
    a, b = slots[f"w{number}_a"], slots[f"w{number}_b"]
    return (a.shape[0], b.shape[1]) if core is None else (a.shape[1], b.shape[1], *core.shape[2:])


def _factor(layer: Layer, number: str) -> Tensor:
    import torch

    if f"w{number}" in layer.slots:
        return layer.slots[f"w{number}"].torch(dtype=torch.float32)
    a, b = (layer.slots[f"w{number}_{each}"].torch(dtype=torch.float32) for each in "ab")
    if number == "1" or "t2" not in layer.slots:
        return a @ b
    return torch.einsum("ij...,io,jn->on...", layer.slots["t2"].torch(dtype=torch.float32), a, b)


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.write`
    """Put the scale into w1 where no alpha can tell it."""
    if rank(layer.slots) or layer.scale == 1:
        return layer
    return replace(layer, slots={**layer.slots, "w1": scaled(layer.slots["w1"], layer.scale)}, scale=1.0)


LOKR = Kind(
    name="lokr",
    title="LoKr",
    spellings=(
        Spelling(family="kohya", slots=_SUFFIXES, optional=_OPTIONAL, accepts=_stands, write=_write),
        Spelling(family="peft-folder", slots=_SUFFIXES, optional=_OPTIONAL, accepts=_stands),
    ),
    apply=apply,
    rank=rank,
    target=target,
    row_slots=("w1", "w1_a"),
    dense=_dense,
    samples="lorry_plugins.adapters.samples:LOKR",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer LoKr, plain and weight-decomposed."""
    return [LOKR, decomposed(LOKR, "lokr-dora", "LoKr with DoRA")]
