"""BOFT as peft has it: input columns rotated in blocks between butterfly permutations, and a factor a row.

    W' = s · W · Mᵀ,   M = Π Pᵢ · blockdiag(Rᵢ) · Pᵢᵀ,   R = (I - S)(I + S)⁻¹ with S = (X - Xᵀ)/2

Source: peft src/peft/tuners/boft/layer.py (`get_delta_weight`, `block_butterfly_perm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.rotation import cayley, skew

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return the rotated and rescaled weight in float32."""
    import torch

    blocks = layer.slots["blocks"].torch(weight.device, torch.float32)
    columns = weight.float().flatten(1).T
    for stage, rotations in enumerate(cayley(-skew(blocks) / 2)):
        order = _order(stage, *blocks.shape[:3]).to(weight.device)
        gathered = columns[order.argsort()].reshape(-1, blocks.shape[2], columns.shape[1])
        columns = (rotations @ gathered).flatten(0, 1)[order]
    factor = layer.slots["rescale"].torch(weight.device, torch.float32).reshape(-1, 1)
    return (columns.T * factor).reshape(weight.shape)


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return rows and columns of the weight; how much of these is kernel is not told."""
    _, count, size, _ = slots["blocks"].shape
    return (slots["rescale"].numel, count * size, -1)


def _order(stage: int, stages: int, count: int, size: int) -> Tensor:
    """Return the permutation of a stage: in each group, chunks at even places before those at odd ones."""
    import torch

    rows = torch.arange(count * size)
    if stages == 1:
        return rows
    groups = rows.reshape(count >> stage, -1, size // 2)
    return torch.cat([groups[:, ::2], groups[:, 1::2]], 1).flatten()


def _accepts(slots: Mapping[str, TensorRef]) -> bool:
    shape = slots["blocks"].shape
    return len(shape) == 4 and shape[2] == shape[3]  # noqa: PLR2004  stages, blocks, and two sides of each


INPUT_BOFT = Kind(
    name="input-boft",
    title="BOFT on the input",
    spellings=(Spelling(family="peft-folder", slots={"boft_R": "blocks", "boft_s": "rescale"}, accepts=_accepts),),
    apply=apply,
    target=target,
    row_slots=("rescale",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:INPUT_BOFT",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer BOFT on the input."""
    return [INPUT_BOFT]
