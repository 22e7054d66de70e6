"""VeRA: two random matrices that all modules share, and two learned vectors of each.

    delta = diag(b) · B[:out] · diag(d) · A[:, :in]

Sources: Kopiczko et al., VeRA (arXiv:2310.11454); peft src/peft/tuners/vera/layer.py (`get_delta_weight`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorry.errors import Incompatible
from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + delta in float32; raise Incompatible for a weight larger than the shared matrices."""
    import torch

    slots = {slot: ref.torch(weight.device, torch.float32) for slot, ref in layer.slots.items()}
    rows, columns = weight.shape
    shared = slots["A"].shape[1], slots["B"].shape[0]
    if columns > shared[0] or rows > shared[1]:
        raise Incompatible(f"the shared matrices serve weights up to {[*shared[::-1]]}, not {[rows, columns]}")
    up = slots["lambda_b"].reshape(-1, 1) * slots["B"][:rows]
    down = slots["lambda_d"].reshape(-1, 1) * slots["A"][:, :columns]
    return weight.float() + layer.scale * (up @ down)


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the rows of the weight; how many columns of the shared matrix it uses is not told."""
    return (slots["lambda_b"].numel, -1)


VERA = Kind(
    name="vera",
    title="VeRA",
    spellings=(
        Spelling(
            family="peft-folder",
            slots={"vera_lambda_b": "lambda_b", "vera_lambda_d": "lambda_d"},
            shared={"base_model.vera_A": "A", "base_model.vera_B": "B"},
        ),
    ),
    apply=apply,
    target=target,
    whole_slots=("lambda_b",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:VERA",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer VeRA."""
    return [VERA]
