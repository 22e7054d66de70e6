"""GLoRA: one low-rank matrix times the weight, and another beside it.

    delta = scale · (W · a1 · a2 + b1 · b2)        convolutions: W's input channels times a1 · a2

Sources: Chavan et al., One-for-All (arXiv:2306.07967); LyCORIS lycoris/modules/glora.py. Its first version stored
every pair in the other order, as ComfyUI comfy/weight_adapter/glora.py tells them apart. With rs_lora it divides by
√rank and stores alpha as if by rank; only ss_network_args says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1


def rank(slots: Mapping[str, TensorRef]) -> int:
    """Return the rank; raise InvalidFile where the factors do not fit one another."""
    if not _current(slots):
        raise InvalidFile(f"shapes { {slot: list(ref.shape) for slot, ref in slots.items()} } make no GLoRA")
    return slots["a2"].shape[0]


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the weight: (out, in, *kernel)."""
    kernel = slots.get("bm", slots["b2"]).shape[2:]
    return (slots["b1"].shape[0], slots["b2"].shape[1], *kernel)


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + delta in float32, in the weight's shape."""
    import torch

    slots = {slot: ref.torch(weight.device, torch.float32) for slot, ref in layer.slots.items()}
    weight = weight.float()
    b1, b2 = slots["b1"].flatten(1), slots["b2"]
    if "bm" in slots:
        b2 = torch.einsum("mn...,ni->mi...", slots["bm"], b2.flatten(1))
    beside = (b1 @ b2.flatten(1)).reshape(weight.shape)
    through = torch.einsum("oi...,ir,rj->oj...", weight, slots["a1"].flatten(1), slots["a2"].flatten(1))
    return weight + layer.scale * (through + beside)


def _current(slots: Mapping[str, TensorRef]) -> bool:
    a1, a2, b1, b2 = (slots[slot].shape for slot in ("a1", "a2", "b1", "b2"))
    inner = slots["bm"].shape[:2] if "bm" in slots else (b2[0], b2[0])
    return (
        min(map(len, (a1, a2, b1, b2))) > 1
        and 0 < a1[1] == a2[0] == b1[1] == b2[0] == inner[0] == inner[1]
        and a1[0] == a2[1] == b2[1]
        and math.prod((*a1[2:], *a2[2:], *b1[2:])) == 1
    )


def _read(layer: Layer, facts: Mapping[str, Any]) -> Layer:
    """Put pairs of the old order into today's, and undo what rs_lora left out of alpha."""
    slots = layer.slots
    if not _current(slots):
        slots = {{"a1": "a2", "a2": "a1", "b1": "b2", "b2": "b1"}.get(slot, slot): ref for slot, ref in slots.items()}
    scale = math.sqrt(rank(slots)) if facts.get("rs_lora") else 1.0
    return replace(layer, slots=slots, scale=layer.scale * scale)


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer:
    scale = math.sqrt(rank(layer.slots)) if facts.get("rs_lora") else 1.0
    return replace(layer, scale=layer.scale / scale)


GLORA = Kind(
    name="glora",
    title="GLoRA",
    spellings=(
        Spelling(
            family="kohya",
            slots={
                "a1.weight": "a1", "a2.weight": "a2", "b1.weight": "b1", "b2.weight": "b2", "bm.weight": "bm",
                "alpha": "alpha",
            },
            optional=frozenset({"bm", "alpha"}),
            read=_read,
            write=_write,
        ),
    ),
    apply=apply,
    rank=rank,
    target=target,
    row_slots=("b1",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:GLORA",
)  # fmt: skip


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer GLoRA."""
    return [GLORA]
