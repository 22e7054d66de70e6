"""SLERP: from one delta to another along the arc between them, so that the norm does not sink half-way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.algebra.gram import gram
from lorry.errors import InvalidArgument
from lorry.plugin import DenseTerm, FactoredTerm, Factors, MergeMethod, Option, Site

if TYPE_CHECKING:
    from torch import Tensor

_PARALLEL = 1e-4
"""Angle in radians below which the arc and the line are one."""


def factored(terms: Sequence[FactoredTerm], site: Site) -> Factors:
    """Return both factors side by side, each with its share of the arc."""
    import torch

    deltas = [Factors(term.down, term.up * term.scale) for term in terms]
    shares = _shares(gram(deltas).tolist(), _place([term.weight for term in terms], site))
    up = torch.cat([each.up * share for each, share in zip(deltas, shares, strict=True)], 1)
    return Factors(torch.cat([each.down for each in deltas]), up)


def dense(terms: Sequence[DenseTerm], site: Site) -> Tensor:
    """Return the point of the arc between two whole deltas."""
    a, b = (term.delta for term in terms)
    products = [[float((one.double() * other).sum()) for other in (a, b)] for one in (a, b)]
    first, second = _shares(products, _place([term.weight for term in terms], site))
    return first * a + second * b


def _place(weights: Sequence[float], site: Site) -> float:
    """Return how far along the arc: the option t, or the second weight's share of both."""
    t: float | None = site.options["t"]
    if t is not None:
        return t
    if min(weights) < 0 or not sum(weights):
        raise InvalidArgument(f"weights {weights} say no place between two adapters; give t, or positive weights")
    return weights[1] / sum(weights)


def _shares(products: Sequence[Sequence[float]], t: float) -> tuple[float, float]:
    """Return the coefficients of both, from ⟨a, a⟩, ⟨a, b⟩ and ⟨b, b⟩; those of the line where there is no arc."""
    norms = math.sqrt(max(products[0][0], 0.0) * max(products[1][1], 0.0))
    angle = math.acos(max(-1.0, min(1.0, products[0][1] / norms))) if norms else 0.0
    if not _PARALLEL < angle < math.pi - _PARALLEL:
        return 1 - t, t
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


SLERP = MergeMethod(
    name="slerp",
    title="spherical interpolation of two",
    formula="ΔW = sin((1-t)θ)/sin θ · ΔW₁ + sin(tθ)/sin θ · ΔW₂, θ the angle between them, t = w₂ / (w₁ + w₂)",
    source="Shoemake, SIGGRAPH 1985, doi:10.1145/325165.325242; on the factors, by their Gram matrix",
    factored=factored,
    dense=dense,
    options=(Option("t", None, "place between both, 0 the first; from the weights if not given", low=0.0, high=1.0),),
    count=2,
)
