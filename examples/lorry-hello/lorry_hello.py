"""The smallest plugin that teaches lorry something new: a kind of layer and a dialect that stores it.

A gain layer has one number a row of the weight and scales the rows: W' = W · (1 + gain). A file of the
dialect has one key a module: hello.<component>.<module>.gain
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lorry.plugin import Dialect, Kind, Spelling, hookimpl

if TYPE_CHECKING:
    import torch

    from lorry.ir import Layer, TensorRef

LORRY_API = 1


def apply(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Scale the rows of a weight of any shape (out, ...); float32 in, float32 out."""
    gain = layer.slots["gain"].torch(weight.device, weight.dtype) * layer.scale
    return weight * (1 + gain.reshape(-1, *[1] * (weight.ndim - 1)))


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Tell the shape of the weight: as many rows as gains, and any number of columns."""
    return (slots["gain"].numel, -1)


@hookimpl
def lorry_kinds() -> Iterable[Kind]:
    """Add the kind: what a layer means, and what its slot is called in files of two families."""
    spellings = tuple(Spelling(family=family, slots={"gain": "gain"}) for family in ("hello", "kohya"))
    return [
        Kind(
            name="gain",
            title="row gains",
            spellings=spellings,
            apply=apply,
            target=target,
            row_slots=("gain",),
            needs_weight=True,
        )
    ]


@hookimpl
def lorry_dialects() -> Iterable[Dialect]:
    """Add the dialect: the word hello, then modules as diffusers names them; it holds LoRA as peft spells it."""
    return [Dialect(name="hello", title="hello", lead="hello.", naming="diffusers", spellings=("hello", "peft"))]
