"""A made-up kind: the outer product of one column and one row is added to the weight.

    W' = W + scale · column · row        convolutions flattened to (out, in · kernel)

It spells its slots in two families, and so goes through every dialect that speaks one of them, for every base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorry.ir import Layer
from lorry.plugin import Kind, Spelling, hookimpl

if TYPE_CHECKING:
    import torch

    from lorry.ir import TensorRef
    from lorry.testing import Random

LORRY_API = 1


def apply(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Return the weight (out, ...) with the product added, in float32."""
    import torch

    column, row = (layer.slots[slot].torch(weight.device, torch.float32) for slot in ("column", "row"))
    return weight.float() + layer.scale * torch.outer(column, row).reshape(weight.shape)


def rank(slots: Mapping[str, TensorRef]) -> int:  # noqa: ARG001  it is always the same
    """Return what alpha is divided by."""
    return 1


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Tell the shape of the weight: how much of the row is kernel is not told."""
    return (slots["column"].numel, slots["row"].numel, -1)


def sample(random: Random, shape: tuple[int, ...]) -> Layer:
    """Make a layer for a weight of this shape, for lorry.testing to try."""
    row = random(1, *shape[1:])
    return Layer(kind="outer", slots={"column": random(shape[0]), "row": row.reshape(row.numel)}, scale=random.scale)


SAMPLES = {"outer": sample}

OUTER = Kind(
    name="outer",
    title="outer product",
    spellings=(
        Spelling("kohya", {"outer_column": "column", "outer_row": "row", "alpha": "alpha"}, frozenset({"alpha"})),
        Spelling("peft", {"outer_B": "column", "outer_A": "row", "alpha": "alpha"}, frozenset({"alpha"})),
    ),
    apply=apply,
    rank=rank,
    target=target,
    row_slots=("column",),
    samples="lorry_outer:SAMPLES",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer the kind."""
    return [OUTER]
