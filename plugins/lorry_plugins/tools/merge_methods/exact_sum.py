"""The weighted sum of deltas: exact, or cut to a rank in the best way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.plugin import DenseTerm, FactoredTerm, Factors, MergeMethod, Site

if TYPE_CHECKING:
    from torch import Tensor


def side_by_side(terms: Sequence[FactoredTerm], site: Site) -> Factors:  # noqa: ARG001  the shape of a method
    """Return all factors side by side, weights and scales in up: ranks add up."""
    import torch

    up = torch.cat([term.up * (term.weight * term.scale) for term in terms], 1)
    return Factors(down=torch.cat([term.down for term in terms]), up=up)


def added(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the sum of whole deltas."""
    import torch

    total = torch.zeros(site.shape, device=terms[0].delta.device)
    for term in terms:
        total.add_(term.delta, alpha=term.weight)
    return total


SUM = MergeMethod(
    name="sum",
    title="exact weighted sum",
    formula="ΔW = Σ wᵢ·ΔWᵢ, as [w₁U₁ … wₙUₙ] · [D₁; …; Dₙ]",
    source="block multiplication of matrices; no approximation",
    factored=side_by_side,
    dense=added,
    linear=True,
)

SVD = MergeMethod(
    name="svd",
    title="weighted sum of the largest rank",
    formula="ΔW = the best rank-r approximation of Σ wᵢ·ΔWᵢ, r the largest rank of the adapters or --rank",
    source="Eckart and Young, Psychometrika 1 (1936) 211; computed on the factors, ΔW is never built",
    factored=side_by_side,
    dense=added,
    linear=True,
    cut=True,
)
