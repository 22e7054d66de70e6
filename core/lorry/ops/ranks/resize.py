"""Changing the ranks of an adapter: every layer cut again in the best way, in factor space where it has factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from lorry.algebra.device import checked_device
from lorry.algebra.ranks import Rank
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import BITS, require_torch
from lorry.ops.baking.bake import check_understood
from lorry.ops.bases.base import Base
from lorry.ops.headers.recipe import recipe, told_model
from lorry.ops.merging.deltas import Deltas, Parameter, by_parameter
from lorry.ops.ranks.aim import Aim, rank_aim
from lorry.ops.ranks.layers import DTYPES, deal_out, low_rank_layer, numbers_of_a_rank
from lorry.ops.ranks.report import LayerCut, RankReport
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from lorry.algebra.svd import Truncated


class Resized(NamedTuple):
    """The adapter with other ranks, and what became of every layer."""

    adapter: Adapter
    report: RankReport


def resize(  # noqa: PLR0913  every option is a keyword with a default
    adapter: Adapter,
    *,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
    ratio: float | None = None,
    size: int | str | None = None,
    base: Base | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    plugins: Host | None = None,
) -> Adapter:
    """Return the adapter with lower ranks, each layer as near to what it was as that rank allows.

    Ranks as in `extract`; `ratio` keeps the singular values above the largest one / ratio. Layers without factors
    are made into low-rank ones, with the weights of `base` where their kinds need them; biases, norms and tokens stay
    as they are. dtype: F32, F16, BF16; each layer's own if not given. Raises Incompatible for what cannot be resized.
    """
    aim = rank_aim(rank=rank, energy=energy, error=error, ratio=ratio, size=size)
    work = Resizing(adapter, aim, base=base, dtype=dtype, device=device, plugins=plugins)
    for _ in work.run():
        pass
    return work.finish().adapter


class Resizing:
    """A resizing in steps: `run` cuts layers one by one, `finish` makes the adapter of them."""

    def __init__(  # noqa: PLR0913  every option is a keyword with a default
        self,
        adapter: Adapter,
        aim: Aim,
        *,
        base: Base | None = None,
        dtype: str | None = None,
        device: str = "cpu",
        partial: bool = False,
        plugins: Host | None = None,
    ) -> None:
        require_torch("resizing")
        check_understood(adapter, partial=partial)
        self._plugins = plugins or host()
        self._adapter, self._aim, self._dtype, self._partial = adapter, aim, dtype, partial
        self._deltas = Deltas(base, self._plugins, checked_device(device))
        self._layers = by_parameter(adapter)
        self._cuts: dict[Parameter, Truncated] = {}
        self._kept: dict[Parameter, str] = {}

    @property
    def total(self) -> int:
        """How many parameters there are."""
        return len(self._layers)

    def run(self) -> Iterator[Parameter]:
        """Cut every layer, and yield each."""
        for at, layers in self._layers.items():
            if reason := self._reason_to_keep(at, layers):
                self._kept[at] = reason
            else:
                self._cuts[at] = self._cut(at, layers)
            yield at

    def finish(self) -> Resized:
        """Make the adapter of all layers, once `run` has been exhausted."""
        cuts = self._spread() if self._aim.size else self._cuts
        made: dict[ModulePath, list[Layer]] = {}
        for at, layers in self._layers.items():
            if at not in cuts:
                made.setdefault(at.path, []).extend(layers)
            elif cuts[at].rank:
                made.setdefault(at.path, []).append(self._layer(at, cuts[at]))
        told = tuple(_told(at, cut, self._shape(at)) for at, cut in cuts.items())
        adapter = replace(self._adapter, layers={path: tuple(layers) for path, layers in made.items()})
        return Resized(adapter, RankReport(layers=told, left_out={str(at): why for at, why in self._kept.items()}))

    def recipe(self, format: str) -> dict[str, Any]:
        """Tell how it is made, and in which format it is written."""
        base = told_model(self._deltas.base, self._plugins) if self._deltas.base else None
        options = {**self._aim.given, "partial": self._partial or None}
        device = str(self._deltas.device)
        return recipe(
            "resize", [(self._adapter, 1.0)], options, base=base, format=format, dtype=self._dtype, device=device
        )

    def _reason_to_keep(self, at: Parameter, layers: Sequence[Layer]) -> str:
        kinds = [self._deltas.kind(layer) for layer in layers]
        if any(kind.multiplies_output(layer) for kind, layer in zip(kinds, layers, strict=True)):
            return f"{layers[0].kind} multiplies what the module puts out and has no rank; it stays as it is"
        if not self._deltas.have_factors(layers):
            for layer in layers:
                self._deltas.check_possible(at, layer)
            if len(self._deltas.shape(at, layers)) < 2:  # noqa: PLR2004  a matrix has two axes
                return "a bias or norm has no rank; it stays as it is"
        rank = self._aim.rank
        ranks = [
            kind.rank(layer.slots) if kind.rank and kind.factors else 0
            for kind, layer in zip(kinds, layers, strict=True)
        ]
        if isinstance(rank, int) and rank and all(ranks) and sum(ranks) <= rank:
            return f"its rank is {sum(ranks)} already; it stays as it is"
        return ""

    def _cut(self, at: Parameter, layers: Sequence[Layer]) -> Truncated:
        rank: Rank = self._aim.rank or 1 << 30  # all of them, where a size is spread over them later
        scaled = self._deltas.factors(at, layers) if self._deltas.have_factors(layers) else None
        if scaled is not None:
            from lorry.algebra.low_rank import truncate

            return truncate(scaled.product(), rank)
        from lorry.algebra.dense import decompose

        shape = self._shape(at)
        return decompose(self._deltas.whole(at, layers, shape).flatten(1), rank)

    def _spread(self) -> dict[Parameter, Truncated]:
        """Cut all layers further, so that the whole fits a size."""
        kept = [layer for at in self._kept for layer in self._layers[at]]
        ranks = deal_out(
            self._aim.size,
            [cut.values for cut in self._cuts.values()],
            [numbers_of_a_rank(self._shape(at)) * BITS[self._stored(self._layers[at])] // 8 for at in self._cuts],
            names=[at for at in self._layers for _ in range(3)],
            rest=[
                *(ref for layer in kept for ref in layer.slots.values()),
                *(ref for token in self._adapter.tokens.values() for ref in token.vectors.values()),
            ],
        )
        return {at: cut.cut(rank) for (at, cut), rank in zip(self._cuts.items(), ranks, strict=True)}

    def _layer(self, at: Parameter, cut: Truncated) -> Layer:
        layers = self._layers[at]
        return low_rank_layer(at, cut.factors, self._shape(at), self._stored(layers), self._plugins)

    def _shape(self, at: Parameter) -> tuple[int, ...]:
        return self._deltas.shape(at, self._layers[at])

    def _stored(self, layers: Sequence[Layer]) -> str:
        """Return the dtype to store in: the one asked for, or the widest of the layers' own."""
        own = {ref.dtype for layer in layers for ref in layer.slots.values()}
        return self._dtype or max((each if each in DTYPES else "F32" for each in own), key=BITS.__getitem__)


def _told(at: Parameter, cut: Truncated, shape: tuple[int, ...]) -> LayerCut:
    return LayerCut(
        at=at,
        form="low rank",
        rank=cut.rank,
        largest=min(len(cut.values), shape[0], prod(shape[1:])),
        norm=cut.norm,
        error=cut.error,
        values=tuple(cut.values.tolist()),
    )
