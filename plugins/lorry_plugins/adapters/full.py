"""Whole parameters: a difference of the weight's own shape, or a weight that takes the old one's place.

    W' = W + scale · diff,   b' = b + scale · diff,   W' = value

Sources: LyCORIS lycoris/modules/full.py and norms.py; ComfyUI comfy/lora.py (`diff`, `set_weight`); the bias of
peft's LoRA, which its scale multiplies too: peft src/peft/tuners/lora/layer.py (`lora_bias`); the norms of Black
Forest Labs' control LoRAs: flux/util.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.scaling import scaled

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_NORM = {"norm": True}
"""The module is a norm, and LyCORIS calls its parameters by other names."""


_LORAS = ("lora", "dora", "wide-lora")


def add(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + difference in float32."""
    import torch

    return weight.float() + layer.scale * layer.slots["diff"].torch(weight.device, torch.float32).reshape(weight.shape)


def whole(delta: TensorRef) -> Layer:
    """Make a layer of scale 1 that adds a whole tensor."""
    return Layer(kind="diff", slots={"diff": delta})


def put(weight: Tensor, layer: Layer) -> Tensor:
    """Return the value in float32."""
    import torch

    return layer.slots["value"].torch(weight.device, torch.float32)


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the parameter."""
    return next(iter(slots.values())).shape


def _read_norm(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    return replace(layer, options=_NORM)


def _write_norm(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:
    return _write(replace(layer, options={}), facts) if layer.options == _NORM else None


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    """Put the scale into the numbers: no alpha tells it."""
    if layer.options:
        return None
    return replace(layer, slots={"diff": scaled(layer.slots["diff"], layer.scale)}, scale=1.0)


DIFF = Kind(
    name="diff",
    title="full difference",
    spellings=(
        Spelling(family="kohya", slots={"diff": "diff"}, write=_write),
        Spelling(family="kohya", slots={"diff_b": "diff"}, param="bias", write=_write),
        Spelling(family="kohya", slots={"w_norm": "diff"}, read=_read_norm, write=_write_norm),
        Spelling(family="kohya", slots={"b_norm": "diff"}, param="bias", read=_read_norm, write=_write_norm),
        *(
            Spelling(family=family, slots={"lora_B.bias": "diff"}, param="bias", beside=_LORAS, write=_write)
            for family in ("peft", "bfl-control")
        ),
    ),
    apply=add,
    target=target,
    row_slots=("diff",),
    whole=whole,
    samples="lorry_plugins.adapters.samples:DIFF",
)

SET = Kind(
    name="set",
    title="replaced weight",
    spellings=(
        Spelling(family="kohya", slots={"set_weight": "value"}),
        Spelling(family="bfl-control", slots={"scale": "value"}),
    ),
    apply=put,
    target=target,
    row_slots=("value",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:SET",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer differences and replacements."""
    return [DIFF, SET]
