"""Magnitude pruning: keep the largest entries of every delta, and add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.plugin import DenseTerm, MergeMethod, Site
from lorry_plugins.tools.merge_methods.masks import density, largest

if TYPE_CHECKING:
    from torch import Tensor


def merge(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the weighted sum of the pruned deltas."""
    pruned = (term.weight * largest(term.delta, site.options["density"]) for term in terms)
    return sum(pruned, terms[0].delta.new_zeros(site.shape))


MAGNITUDE = MergeMethod(
    name="magnitude",
    title="sum of the largest entries",
    formula="ΔW = Σ wᵢ·topₚ(ΔWᵢ)",
    source="magnitude pruning: Han et al. (arXiv:1506.02626), on deltas",
    dense=merge,
    options=(density(0.5),),
)
