"""Convolution deltas in Tucker form: a core over the kernel between two matrices.

    delta[o, i, k] = Σ_mn up[o, m] · core[m, n, k] · down[n, i]

The bases of both sides are the leading singular vectors of the unfoldings, improved once by projecting the other
side first: De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000), HOSVD (p. 1253) and HOOI
(p. 1324). With orthonormal bases the error is what the core lacks of the norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.dense import decompose
from lorry.algebra.ranks import Rank

if TYPE_CHECKING:
    from torch import Tensor


class Tucker(NamedTuple):
    """up (o, r), core (r, r, *kernel), down (r, i), of equal spectral size; float32.

    values: the singular values of the output's unfolding that are known, descending. tail: ‖ΔW - the product‖.
    """

    up: Tensor
    core: Tensor
    down: Tensor
    values: Tensor
    tail: float


def tucker(delta: Tensor, rank: Rank) -> Tucker:
    """Cut a convolution's float32 delta (o, i, *kernel) to Tucker form of one rank on both sides.

    A rank that is chosen is the larger of those chosen for the two unfoldings: where they are chosen to leave out
    a share e of ‖ΔW‖² each, at most 2e is left out. Raises what `rank` raises.
    """
    import torch

    rows, columns = delta.shape[:2]
    by_output, by_input = delta.flatten(1), delta.transpose(0, 1).flatten(1)
    output, other = decompose(by_output, rank), decompose(by_input, rank)
    count = max(output.rank, other.rank)
    right = _basis(by_input, min(count, columns))
    left = _basis(torch.einsum("oi...,in->on...", delta, right).flatten(1), min(count, rows))
    right = _basis(torch.einsum("oi...,om->im...", delta, left).flatten(1), min(count, columns))
    core = torch.einsum("oi...,om,in->mn...", delta, left, right)
    size = float(torch.linalg.vector_norm(core)) or 1.0
    root = size ** (1 / 3)
    product = torch.einsum("mn...,om,in->oi...", core, left, right)
    tail = float(torch.linalg.vector_norm(delta - product))
    return Tucker(left * root, core * (root / size), (right * root).mT, output.values, tail)


def _basis(unfolded: Tensor, rank: int) -> Tensor:
    import torch

    basis: Tensor = torch.linalg.qr(decompose(unfolded, rank).factors.up).Q
    return basis
