"""DARE: drop entries at random and make up for it in those that stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lorry.plugin import DenseTerm, MergeMethod, Site
from lorry_plugins.tools.merge_methods.masks import SEED, density
from lorry_plugins.tools.merge_methods.ties import agreeing_mean

if TYPE_CHECKING:
    from torch import Tensor


def dropped(delta: Tensor, keep: Tensor, site: Site, position: int) -> Tensor:
    """Return the delta with each entry kept with probability `keep`, and divided by it."""
    import torch

    drawn = torch.rand(site.shape, generator=site.generator(position)).to(delta.device)
    return torch.where(drawn < keep, delta / keep, 0.0)


def add(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the sum of what is left of the deltas."""
    return sum(_left(terms, site), terms[0].delta.new_zeros(site.shape))


def elect(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Merge what is left of the deltas as TIES does."""
    return agreeing_mean(list(_left(terms, site)))


def _left(terms: Sequence[DenseTerm], site: Site) -> Iterator[Tensor]:
    import torch

    keep = torch.tensor(site.options["density"], device=terms[0].delta.device)
    for position, term in enumerate(terms):
        yield term.weight * dropped(term.delta, keep, site, position)


DARE = MergeMethod(
    name="dare",
    title="DARE",
    formula="ΔW = Σ wᵢ·mᵢ⊙ΔWᵢ / p, the entries of mᵢ being 1 with probability p, else 0",
    source="Yu et al., Language Models are Super Mario (arXiv:2311.03099)",
    dense=add,
    options=(density(0.5), SEED),
)

DARE_TIES = MergeMethod(
    name="dare-ties",
    title="DARE with the signs of TIES",
    formula="δᵢ = wᵢ·mᵢ⊙ΔWᵢ / p; ΔW = mean of the δᵢ with sgn δᵢ = sgn Σ δⱼ, entry by entry",
    source="Yu et al. (arXiv:2311.03099) section 4.3, over Yadav et al. (arXiv:2306.01708)",
    dense=elect,
    options=(density(0.5), SEED),
)
