"""Diag-OFT: output rows rotated in blocks.

    Q = X - Xᵀ, scaled down to ‖Q‖ ≤ constraint · out,  R = (I + Q)(I - Q)⁻¹,  W'_k = rescale · R_kᵀ W_k

for each block k of rows. The bias is left as it is. Sources: Qiu et al., OFT (arXiv:2306.07280); LyCORIS
lycoris/modules/diag_oft.py; sd-scripts networks/oft.py and oft_flux.py, where a fused module has blocks and a
constraint of its own for each part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import from_scalar
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.rotation import cayley, clipped, skew

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_PARTS = 8
"""More parts than any fused module has."""


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return the rotated weight in float32."""
    import torch

    blocks = layer.slots["blocks"].torch(weight.device, torch.float32)
    limit = layer.slots["constraint"].item() * weight.shape[0] if "constraint" in layer.slots else 0.0
    rotations = cayley(clipped(skew(blocks), limit))
    rows = weight.float().reshape(*blocks.shape[:2], -1)
    turned = torch.einsum("knm,knc->kmc", rotations, rows).reshape(weight.shape)
    if "rescale" not in layer.slots:
        return turned
    return turned * layer.slots["rescale"].torch(weight.device, torch.float32).reshape(
        -1, *(1 for _ in weight.shape[1:])
    )


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the rows of the weight; nothing else is told."""
    count, size, _ = slots["blocks"].shape
    return (count * size, -1, -1)


def _accepts(slots: Mapping[str, TensorRef]) -> bool:
    blocks = [ref for slot, ref in slots.items() if slot.startswith("blocks")]
    return all(len(ref.shape) == 3 and ref.shape[1] == ref.shape[2] for ref in blocks)  # noqa: PLR2004  LyCORIS' BOFT has 4


def _read(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    """Check the shapes; a constraint of 0 is none."""
    slots = dict(layer.slots)
    if "rescale" in slots and slots["rescale"].numel != target(slots)[0]:
        raise InvalidFile(f"a rescale of shape {list(slots['rescale'].shape)} is not one a row of {target(slots)[0]}")
    if "constraint" in slots and not slots["constraint"].item():
        del slots["constraint"]
    return replace(layer, slots=slots)


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.write`
    return replace(layer, slots={"constraint": from_scalar(0.0), **layer.slots})


def _read_parts(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    """Give every part the constraint they share."""
    slots = dict(layer.slots)
    constraint = slots.pop("constraint", None)
    if constraint is not None:
        slots |= {slot.replace("blocks", "constraint"): constraint for slot in layer.slots if slot.startswith("blocks")}
    return replace(layer, slots=slots)


DIAG_OFT = Kind(
    name="diag-oft",
    title="Diag-OFT",
    spellings=(
        Spelling(
            family="kohya",
            slots={"oft_blocks": "blocks", "rescale": "rescale", "alpha": "constraint"},
            optional=frozenset({"rescale", "constraint"}),
            accepts=_accepts,
            read=_read,
            write=_write,
        ),
        Spelling(
            family="kohya",
            slots={**{f"oft_blocks.{part}": f"blocks.{part}" for part in range(_PARTS)}, "alpha": "constraint"},
            optional=frozenset({*(f"blocks.{part}" for part in range(1, _PARTS)), "constraint"}),
            accepts=_accepts,
            read=_read_parts,
        ),
    ),
    apply=apply,
    target=target,
    row_slots=("blocks", "rescale"),
    whole_slots=("constraint",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:DIAG_OFT",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer Diag-OFT."""
    return [DIAG_OFT]
