"""BOFT as LyCORIS has it: output rows rotated in blocks, several times, between butterfly permutations.

Each stage i gathers rows 2ⁱ · b/2 apart into blocks of b, rotates every block, and puts the rows back; the last
one is followed by a factor a row. Sources: Liu et al., BOFT (arXiv:2311.06243); LyCORIS lycoris/functional/boft.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import from_scalar
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.rotation import cayley, clipped, skew

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return the rotated weight in float32."""
    import torch

    blocks = layer.slots["blocks"].torch(weight.device, torch.float32)
    stages, _, size, _ = blocks.shape
    limit = layer.slots["constraint"].item() * weight.shape[0] if "constraint" in layer.slots else 0.0
    rotations = cayley(clipped(skew(blocks), limit))
    rows = weight.float().flatten(1)
    for stage in range(stages):
        step = 2**stage * (size // 2)
        columns = rows.shape[1]
        gathered = rows.reshape(-1, 2, step, columns).transpose(1, 2).reshape(-1, size, columns)
        turned = (rotations[stage] @ gathered).reshape(-1, step, 2, columns)
        rows = turned.transpose(1, 2).reshape(-1, columns)
    if "rescale" in layer.slots:
        rows = rows * layer.slots["rescale"].torch(weight.device, torch.float32).reshape(-1, 1)
    return rows.reshape(weight.shape)


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the rows of the weight; nothing else is told."""
    _, count, size, _ = slots["blocks"].shape
    return (count * size, -1, -1)


def _accepts(slots: Mapping[str, TensorRef]) -> bool:
    shape = slots["blocks"].shape
    return len(shape) == 4 and shape[2] == shape[3]  # noqa: PLR2004  Diag-OFT has 3


def _read(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    """Take a constraint of 0 for none."""
    slots = dict(layer.slots)
    if "constraint" in slots and not slots["constraint"].item():
        del slots["constraint"]
    return replace(layer, slots=slots)


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.write`
    return replace(layer, slots={"constraint": from_scalar(0.0), **layer.slots})


BOFT = Kind(
    name="boft",
    title="BOFT",
    spellings=(
        Spelling(
            family="kohya",
            slots={"oft_blocks": "blocks", "rescale": "rescale", "alpha": "constraint"},
            optional=frozenset({"rescale", "constraint"}),
            accepts=_accepts,
            read=_read,
            write=_write,
        ),
    ),
    apply=apply,
    target=target,
    whole_slots=("blocks",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:BOFT",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer BOFT."""
    return [BOFT]
