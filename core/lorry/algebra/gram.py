"""Inner products, norms and overlaps of deltas; of those in factors, without ever building them.

With ΔWᵢ = Uᵢ·Dᵢ, ⟨ΔWᵢ, ΔWⱼ⟩ = tr((UᵢᵀUⱼ)(DⱼDᵢᵀ)), and with a whole delta T, ⟨ΔWᵢ, T⟩ = tr((UᵢᵀT)Dᵢᵀ). Everything
is in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.algebra.low_rank import truncate
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor

    Delta = Factors | Tensor
    """A delta in factors, or whole as a matrix (out, in · kernel)."""

_DEPENDENT = 1e-5
"""Directions with a singular value below this share of the largest are rounding of float32 factors, no subspace."""


def gram(deltas: Sequence[Delta]) -> Tensor:
    """Return ⟨ΔWᵢ, ΔWⱼ⟩ as an (n, n) matrix; a delta of rank 0 is nothing."""
    import torch

    wide = [_double(each) for each in deltas]
    products = torch.zeros(len(wide), len(wide), dtype=torch.float64)
    for row, one in enumerate(wide):
        for column, other in enumerate(wide[: row + 1]):
            products[row, column] = products[column, row] = _inner(one, other)
    return products


def _inner(one: Delta, other: Delta) -> Tensor:
    if isinstance(one, Factors):
        if isinstance(other, Factors):
            return ((one.up.mT @ other.up) * (one.down @ other.down.mT)).sum()
        return ((one.up.mT @ other) * one.down).sum()
    if isinstance(other, Factors):
        return _inner(other, one)
    return (one * other).sum()


def _double(delta: Delta) -> Delta:
    return Factors(delta.down.double(), delta.up.double()) if isinstance(delta, Factors) else delta.double()


def norm(delta: Factors) -> float:
    """Return ‖ΔW‖ (Frobenius) through triangular factors, so that no square is subtracted from another of its size."""
    import torch

    up, down = torch.linalg.qr(delta.up.double()).R, torch.linalg.qr(delta.down.double().mT).R
    return float(torch.linalg.matrix_norm(up @ down.mT))


def cosines(products: Tensor) -> Tensor:
    """Return the cosines between deltas from their inner products; 0 where one is nothing."""
    norms = products.diagonal().clamp(min=0).sqrt()
    sizes = norms[:, None] * norms
    return (products / sizes.clamp(min=1e-300)).clamp(-1, 1) * (sizes > 0)


def subspaces(delta: Factors) -> tuple[Tensor, Tensor]:
    """Return orthonormal bases of what a delta writes to (out, r) and reads from (in, r), r its numerical rank."""
    import torch

    cut = truncate(Factors(delta.down.double(), delta.up.double()), delta.up.shape[1])
    own = int((cut.values[: cut.rank] > cut.values[:1] * _DEPENDENT).sum())
    scale = cut.values[:own].sqrt()
    if not own:
        return torch.zeros(len(delta.up), 0).double(), torch.zeros(delta.down.shape[1], 0).double()
    return cut.factors.up[:, :own] / scale, cut.factors.down[:own].mT / scale


def overlap(first: Tensor, second: Tensor) -> float:
    """Return the mean of cos² of the principal angles between two subspaces given by orthonormal bases.

    From 0 (orthogonal) to 1 (one lies within the other): ‖Q₁ᵀQ₂‖² / the smaller rank (Björck and Golub,
    Mathematics of Computation 27 (1973) 579; Hu et al., LoRA, arXiv:2106.09685, section 7.2).
    """
    rank = min(first.shape[1], second.shape[1])
    return float((first.mT @ second).square().sum() / rank) if rank else 0.0
