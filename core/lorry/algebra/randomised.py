"""The leading singular values and vectors of dense deltas, by randomised subspace iteration that knows its error.

A random subspace somewhat larger than asked for is multiplied by the delta and its transpose in turn (Halko,
Martinsson and Tropp, arXiv:0909.4061, algorithm 4.4), with a Rayleigh-Ritz step after each multiplication. Each
multiplication tells the error of the step before it: where Aᵀ·U = P·S holds exactly, A·P = U·S + F, and the energy
that the i-th triple lacks after one more step is ‖fᵢ‖² σₗ² / (σᵢ² - σₗ²) to first order, σₗ being the smallest value
in the subspace (Parlett, The Symmetric Eigenvalue Problem, chapter 11, for the operator A·Aᵀ). The iteration ends
when that is small beside what the best delta of this rank leaves out, and gives up as soon as the rate at which it
converges says that an exact decomposition would be quicker, as it is where the spectrum is flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.svd import Svd

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-3
"""Largest excess of ‖ΔW - up·down‖ over the smallest possible for its rank, relative to that."""

_ROUNDING = 1e-12
"""Share of ‖ΔW‖² that float32 cannot tell from nothing."""

_CANCELS = 1e-4
"""Share of ‖ΔW‖² below which a rest is measured, since the difference of two sums would be all rounding."""

_FEWEST = 4
"""Multiplications without which nothing is known."""


def leading(deltas: Tensor, rank: int, tolerance: float = TOLERANCE) -> list[Svd | None]:
    """Return the `rank` leading singular triples of each float32 delta (b, m, n), on its device.

    None stands for a delta that an exact decomposition is quicker for. The same deltas always give the same
    numbers: the random subspace is one and the same.
    """
    import torch

    width = rank + 16 + rank // 2
    patience = 2 * min(deltas.shape[1:]) // width  # multiplications that cost about as much as an exact decomposition
    energy = torch.linalg.vector_norm(deltas, dim=2).double().square().sum(1)  # float32 cannot add up a million squares
    done = torch.zeros_like(energy, dtype=torch.bool)
    found = _begin(deltas, width)
    for steps in range(_FEWEST, patience + 1):
        found, lacking = found.improve(deltas, rank)
        rest = found.rest(deltas, rank, energy)
        # A quarter of what is tolerated, since (1 + t)² is 1 + 2t: the estimate is of first order.
        wanted = tolerance / 2 * rest + _ROUNDING * energy
        done = lacking <= wanted
        needed = (wanted / lacking).log() / found.rate(rank).log()
        if bool((done | (steps + needed > patience)).all()):
            return [found.svd(at, rank, rest) if good else None for at, good in enumerate(done.tolist())]
    return [None] * len(deltas)


class _Triples(NamedTuple):
    """Approximate singular triples of deltas: one side, multiplied, is exactly the other side times the values.

    given, reached (b, m or n, l) orthonormal; values (b, l) float64. `turned`: given is the left side.
    """

    given: Tensor
    values: Tensor
    reached: Tensor
    turned: bool

    def improve(self, deltas: Tensor, rank: int) -> tuple[_Triples, Tensor]:
        """Multiply once more, and estimate the energy that the `rank` leading triples then lack."""
        made = _times(deltas, self.reached, turned=not self.turned)
        wrong = (made - self.given * self.values[:, None].to(made.dtype))[..., :rank].square().sum(1).double()
        squares = self.values.square()
        last, tiny = squares[:, -1:], 1e-300
        lacking = (wrong * last / (squares[:, :rank] - last).clamp(min=tiny)).sum(1)
        return _ritz(self.reached, made, turned=not self.turned), lacking

    def rate(self, rank: int) -> Tensor:
        """Return by what factor a multiplication shrinks the lacking energy, below 1."""
        squares = self.values.square()
        ratio: Tensor = (squares[:, -1] / squares[:, rank - 1]).nan_to_num(0.0).clamp(max=1 - 1e-9)
        return ratio

    def rest(self, deltas: Tensor, rank: int, energy: Tensor) -> Tensor:
        """Return the energy that the `rank` leading triples leave out."""
        import torch

        rest: Tensor = energy - self.values[:, :rank].square().sum(1)
        if bool((rest < _CANCELS * energy).any()):
            left, right = self._sides(rank)
            scaled = left * self.values[:, None, :rank].to(left.dtype)
            rest = torch.linalg.matrix_norm(deltas - scaled @ right.mT).double().square()
        return rest

    def svd(self, at: int, rank: int, rest: Tensor) -> Svd:
        """Return the triples of one delta."""
        left, right = (side[at] for side in self._sides(rank))
        return Svd(left, self.values[at, :rank], right.mT, max(0.0, float(rest[at])) ** 0.5)

    def _sides(self, rank: int) -> tuple[Tensor, Tensor]:
        left, right = (self.given, self.reached) if self.turned else (self.reached, self.given)
        return left[..., :rank], right[..., :rank]


def _begin(deltas: Tensor, width: int) -> _Triples:
    """Multiply a random subspace three times."""
    import torch

    start = torch.randn(deltas.shape[2], width, generator=torch.Generator().manual_seed(0)).to(deltas)
    side = _ritz(start, deltas @ start, turned=False).reached
    side = _ritz(side, _times(deltas, side, turned=True), turned=True).reached
    return _ritz(side, _times(deltas, side, turned=False), turned=False)


def _ritz(given: Tensor, made: Tensor, *, turned: bool) -> _Triples:
    """Turn a subspace and its product into triples: the Rayleigh-Ritz step, by the small Gram matrix of the product.

    In float64, so that directions down to a millionth of the largest come out orthogonal; what lies below is
    rounding of float32 and becomes zeros.
    """
    import torch

    wide = made.double()
    energies, vectors = (each.flip(-1) for each in torch.linalg.eigh(wide.mT @ wide))
    values = energies.clamp(min=0).sqrt()
    inverse = torch.where(values > 1e-6 * values[:, :1], 1 / values, 0.0)
    return _Triples(given @ vectors.to(given), values, (wide @ (vectors * inverse[:, None])).to(made), turned)


def _times(deltas: Tensor, side: Tensor, *, turned: bool) -> Tensor:
    """Return delta · side, or deltaᵀ · side, in the order that reads a row-major delta along its rows."""
    return (side.mT @ deltas).mT if turned else deltas @ side
