"""DELLA: drop entries at random, small ones more often, and merge what is left as TIES does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument
from lorry.plugin import DenseTerm, MergeMethod, Option, Site
from lorry_plugins.tools.merge_methods.dare import dropped
from lorry_plugins.tools.merge_methods.masks import SEED, density
from lorry_plugins.tools.merge_methods.ties import agreeing_mean

if TYPE_CHECKING:
    from torch import Tensor


def merge(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the elected mean of what is left; raise InvalidArgument where probabilities would leave (0, 1]."""
    share, window = site.options["density"], site.options["epsilon"]
    if not 0 < share - window / 2 <= share + window / 2 <= 1:
        raise InvalidArgument(f"density {share:g} ± epsilon {window:g} / 2 leaves 0 … 1; choose a smaller epsilon")
    left = []
    for position, term in enumerate(terms):
        keep = share + window * (_places(term.delta) - 0.5)
        left.append(term.weight * dropped(term.delta, keep, site, position))
    return agreeing_mean(left)


def _places(delta: Tensor) -> Tensor:
    """Return the place of each entry among the magnitudes of its row, from 0 for the smallest to 1."""
    rows = delta.reshape(delta.shape[0] if delta.ndim > 1 else 1, -1).abs()
    places = rows.argsort(dim=1, stable=True).argsort(dim=1)
    return (places / max(rows.shape[1] - 1, 1) if rows.shape[1] > 1 else places + 0.5).reshape(delta.shape)


DELLA = MergeMethod(
    name="della",
    title="DELLA",
    formula=(
        "δᵢ = wᵢ·mᵢ⊙ΔWᵢ / qᵢ, mᵢ being 1 with probability qᵢ = p + ε·(place - ½), place from 0 to 1 by magnitude "
        "in the row; ΔW = mean of the δᵢ with sgn δᵢ = sgn Σ δⱼ"
    ),
    source="Deep, Bhardwaj and Poria, DELLA-Merging (arXiv:2406.11617)",
    dense=merge,
    options=(density(0.5), Option("epsilon", 0.2, "spread of the probabilities", low=0.0, high=1.0), SEED),
)
