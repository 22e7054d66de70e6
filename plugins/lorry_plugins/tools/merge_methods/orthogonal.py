"""Orthogonal sum: turn the singular vectors of all adapters until none overlaps another's, then add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.algebra.low_rank import truncate
from lorry.plugin import FactoredTerm, Factors, MergeMethod, Site

if TYPE_CHECKING:
    from torch import Tensor

_DEPENDENT = 1e-5
"""Directions whose singular value is below this share of the largest are none of their own; float32 holds no less."""


def merge(terms: Sequence[FactoredTerm], site: Site) -> Factors:  # noqa: ARG001  the shape of a method
    """Return the sum over orthogonal singular vectors; its rank is the sum of ranks."""
    import torch

    cuts = [truncate(Factors(term.down, term.up), term.up.shape[1]) for term in terms if term.up.shape[1]]
    signed = [term.weight * term.scale for term in terms if term.up.shape[1]]
    values = torch.cat([cut.values[: cut.rank] * weight for cut, weight in zip(cuts, signed, strict=True)])
    left = torch.cat([_unit(cut.factors.up) for cut in cuts], 1)
    right = torch.cat([_unit(cut.factors.down.mT) for cut in cuts], 1)
    return Factors(down=_orthogonal(right).mT, up=_orthogonal(left) * values.to(left.dtype))


def _unit(columns: Tensor) -> Tensor:
    import torch

    unit: Tensor = torch.nn.functional.normalize(columns, dim=0)
    return unit


def _orthogonal(columns: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal columns (Procrustes); of dependent ones, the nearest isometry."""
    import torch

    gram = columns.double().mT @ columns.double()
    values, vectors = torch.linalg.eigh(gram)
    own = values > values[-1] * _DEPENDENT**2
    root = (vectors[:, own] * values[own].rsqrt()) @ vectors[:, own].mT
    turned: Tensor = columns @ root.to(columns.dtype)
    return turned


ORTHOGONAL = MergeMethod(
    name="orthogonal",
    title="sum over orthogonalised singular vectors",
    formula="ΔWᵢ = UᵢΣᵢVᵢᵀ; ΔW = Û·diag(wᵢΣᵢ)·V̂ᵀ, Û and V̂ the nearest orthonormal to [U₁ … Uₙ] and [V₁ … Vₙ]",
    source="Gargiulo et al., Task Singular Vectors (arXiv:2412.00081), TSV-Merge; on the factors, nothing left out",
    factored=merge,
)
