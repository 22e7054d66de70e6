"""Model Breadcrumbs: leave out the smallest entries and the largest ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument
from lorry.plugin import DenseTerm, MergeMethod, Option, Site
from lorry_plugins.tools.merge_methods.masks import density, smallest_of

if TYPE_CHECKING:
    from torch import Tensor


def merge(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the weighted sum of the deltas without both tails; raise InvalidArgument where nothing is left for one."""
    share, outliers = site.options["density"], site.options["gamma"]
    if share + outliers > 1:
        raise InvalidArgument(f"density {share:g} and gamma {outliers:g} are more than 1 together; lower one")
    total = terms[0].delta.new_zeros(site.shape)
    for term in terms:
        total += term.weight * _middle(term.delta, share, outliers)
    return total


def _middle(delta: Tensor, share: float, outliers: float) -> Tensor:
    import torch

    magnitudes = delta.abs()
    kept = (magnitudes >= smallest_of(delta, share + outliers)) & (magnitudes < smallest_of(delta, outliers))
    return torch.where(kept, delta, 0.0)


BREADCRUMBS = MergeMethod(
    name="breadcrumbs",
    title="Model Breadcrumbs",
    formula="ΔW = Σ wᵢ·mᵢ⊙ΔWᵢ, mᵢ leaving out the share gamma of largest entries and keeping the next share p",
    source="Davari and Belilovsky, Model Breadcrumbs (arXiv:2312.06795)",
    dense=merge,
    options=(density(0.9), Option("gamma", 0.01, "share of the largest entries that is left out", low=0.0, high=0.99)),
)
