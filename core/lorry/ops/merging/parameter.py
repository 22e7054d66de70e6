"""Merging what several adapters do to one parameter: kept where one alone does, in factors, or as whole tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.layer import Layer
from lorry.ops.merging.deltas import Deltas, Parameter
from lorry.ops.merging.layer import Made, Target, kept, low_rank, whole, within_float32
from lorry.plugin.merge_method import DenseTerm, FactoredTerm, MergeMethod, Site

if TYPE_CHECKING:
    from torch import Tensor


class Share(NamedTuple):
    """One adapter's layers at a parameter and their weight; no layers where it does nothing or the weight is 0."""

    layers: Sequence[Layer]
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterMerge:
    """A method with all that it is given, to be used at one parameter after another."""

    method: MergeMethod
    options: Mapping[str, Any]
    rank: int | None
    deltas: Deltas

    def at(self, at: Parameter, shares: Sequence[Share]) -> Made | None:
        """Return the merged layers of a parameter, from the share of each adapter; None where all do nothing."""
        present = [share for share in shares if share.layers]
        layers = [layer for share in present for layer in share.layers]
        if not layers:
            return None
        if len(present) == 1 and self._can_stay(present[0]):
            self.deltas.check_finite(at, layers)
            return kept(at, layers, present[0].weight, self.deltas)
        site = Site(path=at.path, param=at.name, shape=self.deltas.shape(at, layers), options=self.options)
        if self.method.factored and self.deltas.have_factors(layers):
            return self._factored(at, site, shares)
        return self._dense(at, site, shares)

    def _can_stay(self, share: Share) -> bool:
        """Tell whether the layers of the only adapter that changes a parameter are its merge as they stand."""
        kinds = [self.deltas.kind(layer) for layer in share.layers]
        if not self.method.linear or (share.weight != 1 and any(kind.needs_weight for kind in kinds)):
            return False
        if self.rank is None:
            return True
        ranks = [kind.rank(layer.slots) for kind, layer in zip(kinds, share.layers, strict=True) if kind.rank]
        return self.deltas.have_factors(share.layers) and sum(ranks) <= self.rank

    def _factored(self, at: Parameter, site: Site, shares: Sequence[Share]) -> Made:
        import torch

        assert self.method.factored is not None  # noqa: S101  the caller has looked
        made = [self.deltas.factors(at, share.layers) for share in shares]
        some = next(each.factors for each in made if each)
        terms = [
            FactoredTerm(share.weight, each.scale, each.factors.up, each.factors.down)
            if each
            else FactoredTerm(share.weight, 1.0, some.up.new_zeros(len(some.up), 0), some.down[:0])
            for share, each in zip(shares, made, strict=True)
        ]
        largest = max(term.up.shape[1] for term in terms)
        rank = self.rank or (largest if self.method.cut else None)
        with torch.inference_mode(), within_float32(at):
            found = self.method.factored(terms, site)
        return low_rank(found, _target(at, site, shares), self.deltas, rank)

    def _dense(self, at: Parameter, site: Site, shares: Sequence[Share]) -> Made:
        if self.method.dense is None:
            kinds = ", ".join(sorted({layer.kind for share in shares for layer in share.layers}))
            raise Incompatible(f"{at}: {self.method.name} works on factors, and {kinds} has none; try the method sum")
        if self.method.cut and self.rank is None and len(site.shape) > 1:
            raise InvalidArgument(f"{at}: its layers have no rank to cut to; say which (rank=)")
        self._refuse_early(at, shares)
        compute = partial(self._computed, at, site, shares)
        return whole(compute, _target(at, site, shares), self.deltas, self.rank)

    def _computed(self, at: Parameter, site: Site, shares: Sequence[Share]) -> Tensor:
        import torch

        assert self.method.dense is not None  # noqa: S101  the caller has looked
        with torch.inference_mode(), within_float32(at) as check:
            nothing = torch.zeros((), device=self.deltas.device).expand(site.shape)
            deltas = (self.deltas.whole(at, each.layers, site.shape) if each.layers else nothing for each in shares)
            terms = [DenseTerm(share.weight, delta) for share, delta in zip(shares, deltas, strict=True)]
            merged = self.method.dense(terms, site)
            check(merged)
            return merged

    def _refuse_early(self, at: Parameter, shares: Sequence[Share]) -> None:
        """Say now what would be said when the numbers are read."""
        for share in shares:
            for layer in share.layers:
                self.deltas.check_possible(at, layer)
            self.deltas.check_finite(at, share.layers)


def _target(at: Parameter, site: Site, shares: Sequence[Share]) -> Target:
    return Target(at, site.shape, [layer for share in shares for layer in share.layers])
