"""From finished differences to layers: a size spread over them, factors rounded and built, and what is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import hypot, prod
from typing import TYPE_CHECKING

from lorry.errors import InvalidFile
from lorry.ir.computed import computed
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import BITS, TensorRef
from lorry.ir.token import Token
from lorry.ops.extracting.layer import Piece, difference
from lorry.ops.extracting.pairs import LOW_RANK, TUCKER, Pair
from lorry.ops.extracting.scratch import Scratch
from lorry.ops.ranks.layers import DTYPES, deal_out, low_rank_layer, maker, numbers_of_a_rank, rounded
from lorry.ops.ranks.report import LayerCut
from lorry.plugin.host import Host
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor


def own_dtype(pairs: Iterable[Pair]) -> str:
    """Return the narrowest dtype for adapters that the tuned model's weights are stored in, F32 for others."""
    found = {pair.tuned.dtype for pair in pairs if pair.form == LOW_RANK} or {"F32"}
    return min((each if each in DTYPES else "F32" for each in found), key=BITS.__getitem__)


def highest_rank(pairs: Iterable[Pair], size: int, dtype: str) -> int:
    """Return the rank that layers are cut to before a size is spread over them: four times an even share of it."""
    rank_of_all = sum(numbers_of_a_rank(pair.base.shape) for pair in pairs if pair.form == LOW_RANK) * BITS[dtype] // 8
    return max(16, 4 * size // max(rank_of_all, 1))


def spread_size(
    pieces: Sequence[tuple[Pair, Piece]], tokens: Mapping[str, Token], size: int, dtype: str
) -> list[tuple[Pair, Piece]]:
    """Cut the low-rank layers further, so that all together fit `size` bytes and keep the most they can.

    A layer that is worth none of it gets rank 0. Raises InvalidArgument where what has no rank takes all of it.
    """
    low = [(pair, piece) for pair, piece in pieces if piece.form == LOW_RANK]
    whole = [TensorRef(dtype, pair.base.shape, ()) for pair, piece in pieces if piece.form != LOW_RANK]
    ranks = deal_out(
        size,
        [piece.tensors["values"] for _, piece in low],
        [numbers_of_a_rank(pair.base.shape) * BITS[dtype] // 8 for pair, _ in low],
        names=[pair.at for pair, piece in pieces for _ in range(3 if piece.form == LOW_RANK else 1)],
        rest=[*whole, *(ref for token in tokens.values() for ref in token.vectors.values())],
    )
    given = iter(ranks)
    return [(pair, _cut(piece, next(given)) if piece.form == LOW_RANK else piece) for pair, piece in pieces]


def layers_of(pieces: Iterable[tuple[Pair, Piece]], dtype: str, plugins: Host) -> dict[ModulePath, tuple[Layer, ...]]:
    """Return the layers by module; factors rounded to `dtype`, full differences computed when they are read.

    Rank 0 is no layer. Raises Incompatible where no installed kind is of a form.
    """
    layers: dict[ModulePath, tuple[Layer, ...]] = {}
    for pair, piece in pieces:
        if piece.form == LOW_RANK and not piece.tensors["up"].shape[1]:
            continue
        made = _layer(pair, piece, dtype, plugins)
        layers[pair.at.path] = (*layers.get(pair.at.path, ()), made)
    return layers


def told(pair: Pair, piece: Piece) -> LayerCut:
    """Tell what became of one layer."""
    shape = pair.base.shape
    low = "up" in piece.tensors
    return LayerCut(
        at=pair.at,
        form=piece.form,
        rank=piece.tensors["up"].shape[1] if low else 0,
        largest=min(shape[0], prod(shape[1:])) if low else 0,
        norm=piece.norm,
        error=piece.tail / piece.norm,
        values=tuple(piece.tensors["values"].tolist()) if low else (),
    )


def _layer(pair: Pair, piece: Piece, dtype: str, plugins: Host) -> Layer:
    if piece.form == LOW_RANK:
        factors = Factors(piece.tensors["down"], piece.tensors["up"])
        return low_rank_layer(pair.at, factors, pair.base.shape, dtype, plugins)
    kinds = plugins.kinds().values()
    if piece.form == TUCKER:
        tucker = maker((kind.tucker for kind in kinds), "Tucker cores")
        return rounded(tucker(*(piece.tensors[name] for name in ("up", "core", "down"))), pair.at, dtype)
    whole = maker((kind.whole for kind in kinds), "full differences")
    return replace(whole(computed(pair.base.shape, partial(_whole, pair), dtype)), param=pair.at.name)


def _whole(pair: Pair) -> Tensor:
    delta = difference(pair, Scratch())
    if delta is None:
        raise InvalidFile(f"{pair.at} has changed since it was compared; extract again")
    return delta


def _cut(piece: Piece, rank: int) -> Piece:
    """Cut factors further; their ranks stand in the order of their values."""
    up, down, values = (piece.tensors[name] for name in ("up", "down", "values"))
    tail = hypot(piece.tail, float(values[rank : up.shape[1]].norm()))
    return piece._replace(tensors={"up": up[:, :rank], "down": down[:rank], "values": values}, tail=tail)
