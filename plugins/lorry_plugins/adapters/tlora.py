"""T-LoRA: recognised and kept, but not applied: what it does depends on the timestep, and on matrices not stored.

    delta(t) = P diag(λ · mask(t)) Q - P₀ diag(λ₀ · mask(t)) Q₀

P₀, λ₀ and Q₀ come from a decomposition of the trained model's own weight. Source: LyCORIS lycoris/modules/tlora.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from lorry.ir import TensorRef
from lorry.plugin import Kind, Spelling, hookimpl

LORRY_API = 1


def _rank(slots: Mapping[str, TensorRef]) -> int:
    return slots["lambda"].numel


TLORA = Kind(
    name="tlora",
    title="T-LoRA",
    spellings=(
        Spelling(
            family="kohya",
            slots={"q_layer.weight": "down", "p_layer.weight": "up", "lambda_layer": "lambda", "alpha": "alpha"},
            optional=frozenset({"alpha"}),
        ),
    ),
    rank=_rank,
    row_slots=("up",),
    needs_weight=True,
    timestep=True,
    samples="lorry_plugins.adapters.samples:TLORA",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer T-LoRA."""
    return [TLORA]
