"""The smallest plugin that teaches lorry something new: a kind of layer and a dialect that stores it.

A gain layer has one number a row of the weight and scales the rows: W' = W · (1 + gain). A file of the
dialect has one key a module: hello.<component>.<module>.gain
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lorry.ir import Layer
from lorry.plugin import Dialect, Kind, Spelling, hookimpl

if TYPE_CHECKING:
    import torch

    from lorry.ir import TensorRef
    from lorry.testing import Random

LORRY_API = 1


def apply(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Scale the rows of a weight of any shape (out, ...); float32 out."""
    gain = layer.slots["gain"].torch(weight.device).float() * layer.scale
    return weight.float() * (1 + gain.reshape(-1, *[1] * (weight.ndim - 1)))


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Tell the shape of the weight: as many rows as gains, any number of columns, any kernel."""
    return (slots["gain"].numel, -1, -1)


def sample(random: Random, shape: tuple[int, ...]) -> Layer:
    """Make a layer for a weight of this shape, for lorry.testing to try."""
    return Layer(kind="gain", slots={"gain": random(shape[0])})


SAMPLES = {"gain": sample}

GAIN = Kind(
    name="gain",
    title="row gains",
    spellings=tuple(Spelling(family=family, slots={"gain": "gain"}) for family in ("hello", "kohya")),
    apply=apply,
    target=target,
    row_slots=("gain",),
    needs_weight=True,
    samples="lorry_hello:SAMPLES",
)
"""What a layer means, and what its slot is called in files of two families."""

HELLO = Dialect(name="hello", title="hello", lead="hello.", naming="diffusers", spellings=("hello", "peft"))
"""The word hello, then modules as diffusers names them; it holds LoRA as peft spells it."""


@hookimpl
def lorry_kinds() -> Iterable[Kind]:
    """Add the kind."""
    return [GAIN]


@hookimpl
def lorry_dialects() -> Iterable[Dialect]:
    """Add the dialect."""
    return [HELLO]
