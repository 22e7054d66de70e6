"""Adding factors instead of deltas, as peft's "linear" does; for results made elsewhere that must be repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lorry.errors import Incompatible
from lorry.plugin import FactoredTerm, Factors, MergeMethod, Site


def merge(terms: Sequence[FactoredTerm], site: Site) -> Factors:
    """Return the sum of downs times the sum of ups; raise Incompatible for unequal ranks."""
    present = [term for term in terms if term.up.shape[1]]
    ranks = sorted({term.up.shape[1] for term in present})
    if len(ranks) > 1:
        raise Incompatible(f"{site.path}: factors of ranks {ranks} cannot be added up; sum takes any")
    up, down = present[0].up * 0, present[0].down * 0
    for term in present:
        weight = term.weight * term.scale
        up += math.sqrt(abs(weight)) * term.up
        down += math.copysign(math.sqrt(abs(weight)), weight) * term.down
    return Factors(down, up)


LINEAR_FACTORS = MergeMethod(
    name="linear-factors",
    title="sum of factors, which is no sum of deltas",
    formula="ΔW = (Σ √|wᵢsᵢ|·Uᵢ) · (Σ ±√|wᵢsᵢ|·Dᵢ): its cross terms UᵢDⱼ belong to no adapter",
    source='huggingface/peft, add_weighted_adapter(combination_type="linear")',
    factored=merge,
)
