"""TIES: keep the largest entries, let the adapters elect a sign for each, average those that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.plugin import DenseTerm, MergeMethod, Site
from lorry_plugins.tools.merge_methods.masks import density, largest

if TYPE_CHECKING:
    from torch import Tensor


def agreeing_mean(deltas: Sequence[Tensor]) -> Tensor:
    """Return, entry by entry, the mean of those that have the sign of the sum of all."""
    import torch

    stacked = torch.stack(list(deltas))
    agrees = (stacked.sign() == stacked.sum(0).sign()) & (stacked != 0)
    mean: Tensor = (stacked * agrees).sum(0) / agrees.sum(0).clamp(min=1)
    return mean


def merge(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Trim every delta, elect signs by the weighted sum, and average the weighted entries that have them."""
    share = site.options["density"]
    return agreeing_mean([term.weight * largest(term.delta, share) for term in terms])


TIES = MergeMethod(
    name="ties",
    title="TIES",
    formula="δᵢ = wᵢ·topₚ(ΔWᵢ); ΔW = mean of the δᵢ with sgn δᵢ = sgn Σ δⱼ, entry by entry",
    source="Yadav et al., TIES-Merging (arXiv:2306.01708), trimmed layer by layer",
    dense=merge,
    options=(density(0.2),),
)
