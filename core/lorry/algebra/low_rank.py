"""Deltas that are products of factors, decomposed without ever building them.

With up = Q_u·R_u and downᵀ = Q_d·R_d, the singular values of up·down are those of the small core R_u·R_dᵀ, and its
singular vectors are the core's, taken back by Q_u and Q_d: O((m + n) r² + r³). Golub and Van Loan, Matrix
Computations, 4th edition, section 5.4.4 (R-SVD); Q is applied as Householder reflections and never built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.ranks import Rank
from lorry.algebra.svd import Truncated
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor


def truncate(factors: Factors, rank: Rank) -> Truncated:
    """Cut up (m, k) · down (k, n) to a rank, or to the one chosen from its singular values, in the best way.

    The values are all min(m, n, k) of them. Factors are float32, or float64 where the given ones are.
    """
    import torch

    up, down = _reflected(factors.up), _reflected(factors.down.mT)
    left, values, right = torch.linalg.svd(_core(up, down), full_matrices=False)
    count = rank if isinstance(rank, int) else rank(values, float(values.norm()))
    kept = values[:count]
    roots, dtype = kept.sqrt(), factors.up.dtype
    return Truncated(
        factors=Factors(
            down=down.lift((right[:count].mT * roots).to(dtype)).mT.contiguous(),
            up=up.lift((left[:, :count] * roots).to(dtype)),
        ),
        values=values,
        tail=float(values[count:].norm()),
    )


class _Reflected(NamedTuple):
    """A tall or wide matrix as Householder reflections and a triangle."""

    reflections: Tensor
    scales: Tensor

    @property
    def triangle(self) -> Tensor:
        return self.reflections[: self.scales.shape[0]].triu()

    def lift(self, columns: Tensor) -> Tensor:
        """Return Q · columns."""
        import torch

        rows, own = self.reflections.shape[0], columns.shape[0]
        padded = torch.cat([columns, columns.new_zeros(rows - own, columns.shape[1])])
        return torch.ormqr(self.reflections, self.scales, padded)


def _reflected(matrix: Tensor) -> _Reflected:
    import torch

    return _Reflected(*torch.geqrf(matrix))


def _core(up: _Reflected, down: _Reflected) -> Tensor:
    return up.triangle.double() @ down.triangle.double().mT
