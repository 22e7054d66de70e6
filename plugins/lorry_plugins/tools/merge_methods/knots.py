"""KnOTS: bring all adapters into one basis first, and merge there as TIES does."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.plugin import FactoredTerm, Factors, MergeMethod, Site
from lorry_plugins.tools.merge_methods.masks import density, largest
from lorry_plugins.tools.merge_methods.ties import agreeing_mean

_DEPENDENT = 1e-5
"""Directions whose singular value is below this share of the largest are rounding; float32 holds no less."""


def merge(terms: Sequence[FactoredTerm], site: Site) -> Factors:
    """Return UΣ times the merged coordinates: of the rank of all adapters together."""
    import torch

    ups = torch.cat([term.up * term.scale for term in terms], 1)
    basis, triangle = torch.linalg.qr(ups.double())
    blocks = triangle.split([term.up.shape[1] for term in terms], 1)
    coordinates = [block @ term.down.double() for block, term in zip(blocks, terms, strict=True)]
    # the singular vectors and values of [ΔW₁ … ΔWₙ], by its Gram matrix within the basis
    energies, turn = torch.linalg.eigh(sum(each @ each.mT for each in coordinates))
    own = energies > energies[-1] * _DEPENDENT**2
    values, turn = energies[own].sqrt(), turn[:, own]
    aligned = [(turn.mT @ each) / values[:, None] for each in coordinates]
    share = site.options["density"]
    merged = agreeing_mean([term.weight * largest(each, share) for term, each in zip(terms, aligned, strict=True)])
    return Factors(down=(values[:, None] * merged).float(), up=(basis @ turn).float())


KNOTS = MergeMethod(
    name="knots",
    title="KnOTS with the signs of TIES",
    formula="[ΔW₁ … ΔWₙ] = UΣ[V₁ … Vₙ]ᵀ; ΔW = UΣ·ties(V₁ᵀ … Vₙᵀ)",
    source="Stoica et al., Model merging with SVD to tie the Knots (arXiv:2410.19735); on the factors",
    factored=merge,
    options=(density(0.2),),
)
