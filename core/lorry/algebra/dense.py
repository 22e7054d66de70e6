"""Dense deltas to low rank: the quick way where its own estimate says that it is good enough, else the exact one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorry.algebra.randomised import TOLERANCE, leading
from lorry.algebra.ranks import Rank
from lorry.algebra.svd import Svd, Truncated

if TYPE_CHECKING:
    from torch import Tensor

_FIRST_GUESS = 32
"""Rank that is looked at first where the rank is to be chosen."""


def decompose(delta: Tensor, rank: Rank, tolerance: float = TOLERANCE) -> Truncated:
    """Cut a float32 delta (m, n) to low rank, with an error at most 1 + `tolerance` times the smallest possible."""
    return decompose_all(delta[None], rank, tolerance)[0]


def decompose_all(deltas: Tensor, rank: Rank, tolerance: float = TOLERANCE) -> list[Truncated]:
    """Cut each float32 delta (b, m, n) to low rank, on its device; all are worked on at once.

    A chosen rank may come out larger than the smallest that does where values lie within the tolerance, never
    with less kept than was asked for.
    """
    if isinstance(rank, int):
        return [each.truncate(rank) for each in _leading(deltas, min(rank, *deltas.shape[1:]), tolerance)]
    size, guess = min(deltas.shape[1:]), _FIRST_GUESS
    cut: dict[int, Truncated] = {}
    while len(cut) < len(deltas):
        open_ = [at for at in range(len(deltas)) if at not in cut]
        for at, svd in zip(open_, _leading(deltas[open_], min(guess, size), tolerance), strict=True):
            made = svd.truncate(rank)
            if made.rank < len(svd.values) or len(svd.values) == size:
                cut[at] = made
        guess *= 2
    return [cut[at] for at in range(len(deltas))]


def exact(delta: Tensor) -> Svd:
    """Decompose a delta (m, n) in full, by the eigenvectors of its Gram matrix.

    In float64, where squaring loses only what is below 1e-8 of the largest value, less than float32 holds; half
    the work of a singular value decomposition of a square matrix, and far less of a long one.
    """
    import torch

    wide = delta.double()
    long = wide if wide.shape[0] >= wide.shape[1] else wide.mT
    vectors = torch.linalg.eigh(long.mT @ long).eigenvectors.flip(1)
    made = long @ vectors
    values = torch.linalg.vector_norm(made, dim=0)
    other = (made / values.clamp(min=1e-300)).float()
    left, right = (other, vectors.float()) if long is wide else (vectors.float(), other)
    return Svd(left, values, right.mT, 0.0)


def _leading(deltas: Tensor, rank: int, tolerance: float) -> list[Svd]:
    return [quick or exact(delta) for quick, delta in zip(leading(deltas, rank, tolerance), deltas, strict=True)]
