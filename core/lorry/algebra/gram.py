"""Inner products, norms and overlaps of deltas in factors, none of them ever built.

With ΔWᵢ = Uᵢ·Dᵢ, ⟨ΔWᵢ, ΔWⱼ⟩ = tr((UᵢᵀUⱼ)(DⱼDᵢᵀ)): all of them come from the blocks of two small products of the
factors put side by side. Everything is in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.algebra.low_rank import truncate
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor

_DEPENDENT = 1e-5
"""Directions with a singular value below this share of the largest are rounding of float32 factors, no subspace."""


def gram(deltas: Sequence[Factors]) -> Tensor:
    """Return ⟨ΔWᵢ, ΔWⱼ⟩ as an (n, n) matrix; a delta of rank 0 is nothing."""
    import torch

    ups = torch.cat([each.up.double() for each in deltas], 1)
    downs = torch.cat([each.down.double() for each in deltas])
    products = (ups.mT @ ups) * (downs @ downs.mT)
    ranks = [each.up.shape[1] for each in deltas]
    sums = [torch.stack([block.sum() for block in row.split(ranks, 1)]) for row in products.split(ranks)]
    return torch.stack(sums)


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
