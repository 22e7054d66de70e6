"""What every decomposition here gives, and a low-rank delta cut from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.ranks import Rank
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor


class Truncated(NamedTuple):
    """A delta cut to low rank, with what that kept and left out: ranks stand in the order of their values.

    factors: up (m, r) and down (r, n), each carrying the square roots of the values; float32.
    values: the singular values that are known, the r kept ones first, descending; float64.
    tail: ‖ΔW - up·down‖, the Frobenius norm of what was left out.
    """

    factors: Factors
    values: Tensor
    tail: float

    @property
    def rank(self) -> int:
        """Rank of the factors."""
        return int(self.factors.up.shape[1])

    @property
    def norm(self) -> float:
        """‖ΔW‖, Frobenius."""
        return math.hypot(self.tail, float(self.values[: self.rank].norm()))

    @property
    def error(self) -> float:
        """‖ΔW - up·down‖ / ‖ΔW‖; 0 for a delta of zeros."""
        return self.tail / self.norm if self.norm else 0.0

    @property
    def kept(self) -> float:
        """Share of ‖ΔW‖² that was kept; 1 for a delta of zeros."""
        return 1.0 - self.error**2

    def cut(self, rank: int) -> Truncated:
        """Cut further, to a rank that is smaller."""
        if rank >= self.rank:
            return self
        factors = Factors(down=self.factors.down[:rank], up=self.factors.up[:, :rank])
        return Truncated(factors, self.values, math.hypot(self.tail, float(self.values[rank : self.rank].norm())))


class Svd(NamedTuple):
    """The leading part of a singular value decomposition: left · diag(values) · right.

    left (m, k) and right (k, n) in float32, values (k,) descending in float64. `rest` is the Frobenius norm of
    what the k values leave out of the whole.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    rest: float

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole."""
        return math.hypot(self.rest, float(self.values.norm()))

    def truncate(self, rank: Rank) -> Truncated:
        """Cut to a rank, or to the one that is chosen from the values; the best of that rank (Eckart and Young)."""
        count = rank if isinstance(rank, int) else rank(self.values, self.norm)
        count = min(count, len(self.values))
        kept, lost = self.values[:count], self.values[count:]
        roots = kept.sqrt().to(self.left.dtype)
        return Truncated(
            factors=Factors(down=roots[:, None] * self.right[:count], up=self.left[:, :count] * roots),
            values=self.values,
            tail=math.hypot(self.rest, float(lost.norm())),
        )
