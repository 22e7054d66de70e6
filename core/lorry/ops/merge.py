"""Merging adapters: everything around the arithmetic of a method, parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import TYPE_CHECKING, Any, NamedTuple

from lorry.algebra.device import checked_device
from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import require_torch
from lorry.ir.token import Token
from lorry.ops.bake import Weighted, check_plain, check_understood, weighted
from lorry.ops.base import Base
from lorry.ops.deltas import Deltas, Parameter, biases, by_parameter
from lorry.ops.merged_layer import Made, Target, kept, low_rank, whole
from lorry.ops.read import check_fits
from lorry.ops.selection import Selection, read_selections
from lorry.ops.settings import settings
from lorry.plugin.host import Host, host
from lorry.plugin.merge_method import DenseTerm, FactoredTerm, MergeMethod, Site

if TYPE_CHECKING:
    from torch import Tensor


class MergedLayer(NamedTuple):
    """What became of one parameter.

    `form` is "kept" for the layers of the only adapter that changes it, "low rank" or "full". `rank` is 0 where
    there is none, `error` is ‖what the method says - what is stored‖ over the former, before any rounding.
    """

    path: ModulePath
    param: str
    form: str
    rank: int
    error: float


def merge(  # noqa: PLR0913  every option is a keyword with a default
    adapters: Sequence[Weighted],
    method: str = "sum",
    *,
    weights: Sequence[str | Selection] = (),
    options: Mapping[str, Any] | None = None,
    rank: int | None = None,
    base: Base | None = None,
    device: str = "cpu",
    partial: bool = False,
    told: Callable[[MergedLayer], object] | None = None,
    plugins: Host | None = None,
) -> Adapter:
    """Make one adapter of several; "sum" is exactly Σ wᵢ·ΔWᵢ, whatever the ranks and kinds.

    weights: by component, block, module or preset (core/lorry/ops/selection.py), one for all adapters or one for
        each; they multiply the adapters' own. What has weight 0 in all adapters is left out.
    options: of the method. rank: the most that a layer may have; each is cut to it in the best way.
    base: for kinds whose change depends on the weight. device: where torch computes.
    told: is called with what became of each parameter.

    What has no factors becomes a full difference, computed when it is read, unless `rank` is given. Weights do not
    apply to learned tokens: they are taken over as they are. Raises Incompatible for adapters of different bases or
    sizes, and for kinds that need `base`; InvalidArgument for a weight, rank or option that makes no sense; Conflict
    for one token with two meanings; InvalidFile for NaN; UnknownName for the method.
    """
    plugins = plugins or host()
    pairs = weighted(adapters)
    if not pairs:
        raise InvalidArgument("there is nothing to merge; give at least one adapter")
    chosen: MergeMethod = plugins.get("merge_methods", method)
    for adapter, weight in pairs:
        check_understood(adapter, partial=partial)
        if not math.isfinite(weight):
            raise InvalidArgument(f"{weight} is no weight; give a number")
    _check_alike([adapter for adapter, _ in pairs], base, plugins)
    _check_count(chosen, len(pairs))
    if rank is not None and rank < 1:
        raise InvalidArgument(f"{rank} is no rank; give 1 or more")
    require_torch("merging")
    work = _Merge(
        method=chosen,
        options=settings(chosen, options or {}),
        rank=rank,
        deltas=Deltas(base, plugins, checked_device(device)),
        pairs=pairs,
        selections=read_selections(weights, [adapter for adapter, _ in pairs], plugins),
    )
    tokens = _tokens([adapter for adapter, _ in pairs])
    layers: dict[ModulePath, tuple[Layer, ...]] = {}
    for at, made in work.run():
        layers[at.path] = (*layers.get(at.path, ()), *made.layers)
        if told is not None:
            told(MergedLayer(at.path, at.name, made.form, made.rank, made.error))
    return Adapter(base=pairs[0][0].base, layers=layers, tokens=tokens)


class _Share(NamedTuple):
    """One adapter's layers at a parameter and their weight; no layers where it does nothing or the weight is 0."""

    layers: Sequence[Layer]
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merge:
    """One merge: the method and all that it is given."""

    method: MergeMethod
    options: Mapping[str, Any]
    rank: int | None
    deltas: Deltas
    pairs: Sequence[tuple[Adapter, float]]
    selections: Sequence[Selection]

    def run(self) -> Sequence[tuple[Parameter, Made]]:
        """Return the layers at every parameter, in the order in which adapters name them."""
        found = [by_parameter(adapter) for adapter, _ in self.pairs]
        made = {at: self._at(at, self._shares(found, at)) for at in dict.fromkeys(at for each in found for at in each)}
        lifted = {at.path for at, each in made.items() if each and each.form != "kept"}
        kinds = self.deltas.plugins.kinds()
        more = [
            {at: layers for at, layers in biases(adapter, self.deltas.base, kinds).items() if at.path in lifted}
            for adapter, _ in self.pairs
        ]
        for at in dict.fromkeys(at for each in more for at in each):
            both = [{at: [*own.get(at, []), *beside.get(at, [])]} for own, beside in zip(found, more, strict=True)]
            made[at] = self._at(at, self._shares(both, at))
        return [(at, each) for at, each in made.items() if each]

    def _shares(self, found: Sequence[Mapping[Parameter, Sequence[Layer]]], at: Parameter) -> list[_Share]:
        shares = []
        for each, selection, (_, own) in zip(found, self.selections, self.pairs, strict=True):
            weight = own * selection.weight(at.path)
            shares.append(_Share(each.get(at, ()) if weight else (), weight))
        return shares

    def _at(self, at: Parameter, shares: Sequence[_Share]) -> Made | None:
        present = [share for share in shares if share.layers]
        layers = [layer for share in present for layer in share.layers]
        if not layers:
            return None
        if len(present) == 1 and self._can_stay(present[0]):
            self.deltas.check_finite(at, layers)
            return kept(layers, present[0].weight, self.deltas)
        site = Site(path=at.path, param=at.name, shape=self.deltas.shape(at, layers), options=self.options)
        if self.method.factored and self.deltas.have_factors(layers):
            return self._factored(at, site, shares)
        return self._dense(at, site, shares)

    def _can_stay(self, share: _Share) -> bool:
        """Tell whether the layers of the only adapter that changes a parameter are its merge as they stand."""
        kinds = [self.deltas.kind(layer) for layer in share.layers]
        if not self.method.linear or (share.weight != 1 and any(kind.needs_weight for kind in kinds)):
            return False
        if self.rank is None:
            return True
        ranks = [kind.rank(layer.slots) for kind, layer in zip(kinds, share.layers, strict=True) if kind.rank]
        return self.deltas.have_factors(share.layers) and sum(ranks) <= self.rank

    def _factored(self, at: Parameter, site: Site, shares: Sequence[_Share]) -> Made:
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
        with torch.inference_mode():
            found = self.method.factored(terms, site)
        return low_rank(found, _target(site, shares), self.deltas, rank)

    def _dense(self, at: Parameter, site: Site, shares: Sequence[_Share]) -> Made:
        if self.method.dense is None:
            kinds = ", ".join(sorted({layer.kind for share in shares for layer in share.layers}))
            raise Incompatible(f"{at}: {self.method.name} works on factors, and {kinds} has none; try the method sum")
        if self.method.cut and self.rank is None and len(site.shape) > 1:
            raise InvalidArgument(f"{at}: its layers have no rank to cut to; say which (rank=)")
        self._refuse_early(at, shares)
        compute = bound(self._computed, at, site, shares)
        return whole(compute, _target(site, shares), self.deltas, self.rank)

    def _computed(self, at: Parameter, site: Site, shares: Sequence[_Share]) -> Tensor:
        import torch

        assert self.method.dense is not None  # noqa: S101  the caller has looked
        with torch.inference_mode():
            nothing = torch.zeros((), device=self.deltas.device).expand(site.shape)
            deltas = (self.deltas.whole(at, each.layers, site.shape) if each.layers else nothing for each in shares)
            terms = [DenseTerm(share.weight, delta) for share, delta in zip(shares, deltas, strict=True)]
            return self.method.dense(terms, site)

    def _refuse_early(self, at: Parameter, shares: Sequence[_Share]) -> None:
        """Say now what would be said when the numbers are read."""
        for share in shares:
            for layer in share.layers:
                self.deltas.check_possible(at, layer)
            self.deltas.check_finite(at, share.layers)


def _target(site: Site, shares: Sequence[_Share]) -> Target:
    return Target(site.param, site.shape, [layer for share in shares for layer in share.layers])


def _check_alike(adapters: Sequence[Adapter], base: Base | None, plugins: Host) -> None:
    bases = sorted({adapter.base for adapter in adapters})
    if len(bases) > 1:
        raise Incompatible(f"the adapters are for different bases: {', '.join(bases)}; merge those of one base")
    if base is not None:
        check_plain(base)
        for adapter in adapters:
            check_fits(adapter, base, plugins)


def _check_count(method: MergeMethod, count: int) -> None:
    if method.count is not None and count != method.count:
        raise InvalidArgument(f"{method.name} takes {method.count} adapters, not {count}")


def _tokens(adapters: Sequence[Adapter]) -> dict[str, Token]:
    tokens: dict[str, Token] = {}
    for adapter in adapters:
        for text, token in adapter.tokens.items():
            if not tokens.setdefault(text, token).same(token):
                raise Conflict(f"two adapters teach the token {text!r} different vectors; rename one of them first")
    return tokens
