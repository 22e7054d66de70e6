"""Choosing a rank: by kept energy, by relative error, by the ratio of singular values, or within a budget.

A chooser takes the singular values that are known (descending, float64) and the Frobenius norm of the whole, and
returns the smallest rank that does; where the known values do not suffice it returns their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor

Choose = Callable[["Tensor", float], int]
"""Chooses a rank from singular values and the norm of the whole."""

Rank = int | Choose
"""A rank, or what chooses one."""


def kept_energy(share: float) -> Choose:
    """Choose the smallest rank that keeps this share of ‖ΔW‖²; raise InvalidArgument where it is not in (0, 1]."""
    if not 0 < share <= 1:
        raise InvalidArgument(f"{share} is no share of energy to keep; give a number above 0 and up to 1")
    return lambda values, norm: _reach(values, share * norm**2)


def relative_error(bound: float) -> Choose:
    """Choose the smallest rank with ‖ΔW - up·down‖ ≤ bound · ‖ΔW‖; raise InvalidArgument where it is not in [0, 1)."""
    if not 0 <= bound < 1:
        raise InvalidArgument(f"{bound} is no relative error; give a number from 0 to below 1")
    return lambda values, norm: _reach(values, (1 - bound**2) * norm**2)


def value_ratio(ratio: float) -> Choose:
    """Choose the rank that keeps every singular value above the largest one / ratio; raise InvalidArgument below 1."""
    if not ratio >= 1:
        raise InvalidArgument(f"{ratio} is no ratio of singular values; give a number of 1 or more")
    return lambda values, norm: max(1, int((values * ratio >= values[:1]).sum())) if norm else 0


def spread(spectra: Sequence[Tensor], costs: Sequence[float], budget: float) -> list[int]:
    """Return the ranks that keep the most energy over all layers within a budget.

    spectra: the singular values of every layer, descending. costs: what one rank of it costs, in the unit of
    `budget`. Takes the values in the order of σ² / cost until one does not fit (water-filling: the fractional
    knapsack of Dantzig 1957, whose greedy order is optimal but for the last item), then the later ones that do.
    A layer may get rank 0. Raises InvalidArgument where not one rank fits.
    """
    import torch

    if not spectra:
        return []
    worth = torch.cat([values.double() ** 2 / cost for values, cost in zip(spectra, costs, strict=True)])
    owner = torch.cat([torch.full((len(values),), at) for at, values in enumerate(spectra)])
    ranks, full = [0] * len(spectra), [False] * len(spectra)
    order = worth.argsort(descending=True, stable=True)
    for layer in owner[order][worth[order] > 0].tolist():
        full[layer] = full[layer] or costs[layer] > budget  # a smaller value never stands for a larger one
        if not full[layer]:
            ranks[layer] += 1
            budget -= costs[layer]
    if not any(ranks) and len(worth) and float(worth.max()) > 0:
        raise InvalidArgument("the size is too small for a single rank of any layer; give more")
    return ranks


def _reach(values: Tensor, energy: float) -> int:
    """Return how many values reach this energy, all of them where they do not; rounding does not add a rank."""
    if not energy:
        return 0
    reached = (values.double() ** 2).cumsum(0)
    return min(int((reached < energy * (1 - 1e-12)).sum()) + 1, len(values))
