"""Merging adapters: everything around the arithmetic of a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lorry.algebra.device import checked_device
from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import require_torch
from lorry.ir.token import Token
from lorry.ops.baking.bake import Weighted, check_plain, check_understood, weighted
from lorry.ops.bases.base import Base
from lorry.ops.headers.recipe import recipe, told_model
from lorry.ops.merging.deltas import Deltas, Parameter, biases, by_parameter
from lorry.ops.merging.layer import Made
from lorry.ops.merging.parameter import ParameterMerge, Share
from lorry.ops.merging.selection import Selection, read_selections, written
from lorry.ops.merging.settings import settings
from lorry.ops.reading.read import check_fits
from lorry.plugin.host import Host, host
from lorry.plugin.merge_method import MergeMethod


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
    plugins: Host | None = None,
) -> Adapter:
    """Make one adapter of several; "sum" is exactly Σ wᵢ·ΔWᵢ, whatever the ranks and kinds.

    weights: by component, block, module or preset (core/lorry/ops/merging/selection.py), one for all adapters or
        one for each; they multiply the adapters' own. What has weight 0 in all adapters is left out.
    options: of the method. rank: the most that a layer may have; each is cut to it in the best way.
    base: for kinds whose change depends on the weight. device: where torch computes.

    What has no factors becomes a full difference, computed when it is read, unless `rank` is given. Weights do not
    apply to learned tokens: they are taken over as they are. Raises Incompatible for adapters of different bases or
    sizes, and for kinds that need `base`; InvalidArgument for a weight, rank or option that makes no sense; Conflict
    for one token with two meanings; InvalidFile for NaN; UnknownName for the method.
    """
    work = Merging(
        adapters,
        method,
        weights=weights,
        options=options,
        rank=rank,
        base=base,
        device=device,
        partial=partial,
        plugins=plugins,
    )
    for _ in work.run():
        pass
    return work.finish()


def main_dialect(adapter: Adapter) -> str:
    """Return the dialect of an adapter's layers; its learned tokens may have come in a file of another."""
    return max(adapter.origin, key=lambda frame: len(frame.layers)).dialect


class Merging:
    """A merge in steps: `run` merges parameter by parameter, `finish` makes the adapter of them. As `merge`."""

    def __init__(  # noqa: PLR0913  every option is a keyword with a default
        self,
        adapters: Sequence[Weighted],
        method: str = "sum",
        *,
        weights: Sequence[str | Selection] = (),
        options: Mapping[str, Any] | None = None,
        rank: int | None = None,
        base: Base | None = None,
        device: str = "cpu",
        partial: bool = False,
        plugins: Host | None = None,
    ) -> None:
        plugins, pairs = plugins or host(), weighted(adapters)
        if not pairs:
            raise InvalidArgument("there is nothing to merge; give at least one adapter")
        chosen: MergeMethod = plugins.get("merge_methods", method)
        for adapter, _ in pairs:
            check_understood(adapter, partial=partial)
        alone = [adapter for adapter, _ in pairs]
        _check_alike(alone, base, plugins)
        check_count(chosen, len(pairs))
        if rank is not None and rank < 1:
            raise InvalidArgument(f"{rank} is no rank; give 1 or more")
        require_torch("merging")
        self._pairs, self._selections = pairs, read_selections(weights, alone, plugins)
        self._deltas = Deltas(base, plugins, checked_device(device))
        chosen_options = settings(chosen, options or {})
        self._merge = ParameterMerge(method=chosen, options=chosen_options, rank=rank, deltas=self._deltas)
        self._told = {
            "method": method,
            "settings": {name: value for name, value in chosen_options.items() if value is not None} or None,
            "weights": [written(each) for each in weights] or None,
            "rank": rank,
            "partial": partial or None,
        }
        self._tokens = _tokens(alone)
        self._found = [by_parameter(adapter) for adapter in alone]
        self._made: dict[Parameter, Made] = {}

    @property
    def total(self) -> int:
        """How many parameters there are."""
        return len({at for each in self._found for at in each})

    def run(self) -> Iterator[MergedLayer]:
        """Merge every parameter, in the order in which adapters name them, and yield what became of each."""
        for at in dict.fromkeys(at for each in self._found for at in each):
            yield from self._merged(at, self._found)
        beside = self._biases()
        for at in dict.fromkeys(at for each in beside for at in each):
            both = [{at: [*own.get(at, []), *more.get(at, [])]} for own, more in zip(self._found, beside, strict=True)]
            yield from self._merged(at, both)

    def finish(self) -> Adapter:
        """Make the adapter of all parameters, once `run` has been exhausted; weights of 0 may leave an empty one."""
        layers: dict[ModulePath, tuple[Layer, ...]] = {}
        for at, made in self._made.items():
            layers[at.path] = (*layers.get(at.path, ()), *made.layers)
        return Adapter(base=self._pairs[0][0].base, layers=layers, tokens=self._tokens)

    def recipe(self, format: str, dtype: str | None) -> dict[str, Any]:
        """Tell how it is made, and in which format and dtype it is written."""
        base, plugins = self._deltas.base, self._deltas.plugins
        told = told_model(base, plugins) if base else None
        device = str(self._deltas.device)
        return recipe("merge", self._pairs, self._told, base=told, format=format, dtype=dtype, device=device)

    def _merged(self, at: Parameter, found: Sequence[Mapping[Parameter, Sequence[Layer]]]) -> Iterator[MergedLayer]:
        shares = []
        for each, selection, (_, own) in zip(found, self._selections, self._pairs, strict=True):
            weight = own * selection.weight(at.path)
            shares.append(Share(each.get(at, ()) if weight else (), weight))
        made = self._merge.at(at, shares)
        if made is not None:
            self._made[at] = made
            yield MergedLayer(at.path, at.name, made.form, made.rank, made.error)

    def _biases(self) -> list[dict[Parameter, list[Layer]]]:
        """Return the layers that change a bias too, of modules where they are no longer kept as they are."""
        lifted = {at.path for at, each in self._made.items() if each.form != "kept"}
        kinds, base = self._deltas.plugins.kinds(), self._deltas.base
        return [
            {at: layers for at, layers in biases(adapter, base, kinds).items() if at.path in lifted}
            for adapter, _ in self._pairs
        ]


def _check_alike(adapters: Sequence[Adapter], base: Base | None, plugins: Host) -> None:
    bases = sorted({adapter.base for adapter in adapters})
    if len(bases) > 1:
        raise Incompatible(f"the adapters are for different bases: {', '.join(bases)}; merge those of one base")
    if base is not None:
        check_plain(base)
        for adapter in adapters:
            check_fits(adapter, base, plugins)


def check_count(method: MergeMethod, count: int) -> None:
    """Raise InvalidArgument where a method takes another number of adapters."""
    if method.count is not None and count != method.count:
        raise InvalidArgument(f"{method.name} takes {method.count} adapters, not {count}")


def _tokens(adapters: Sequence[Adapter]) -> dict[str, Token]:
    tokens: dict[str, Token] = {}
    for adapter in adapters:
        for text, token in adapter.tokens.items():
            if not tokens.setdefault(text, token).same(token):
                raise Conflict(f"two adapters teach the token {text!r} different vectors; rename one of them first")
    return tokens
