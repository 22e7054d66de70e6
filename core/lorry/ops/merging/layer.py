"""What comes out of a merge as layers: the adapter's own, a low-rank one, or a full difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import InvalidArgument
from lorry.ir.computed import computed
from lorry.ir.layer import Layer
from lorry.ops.merging.deltas import Deltas, Parameter
from lorry.ops.ranks.layers import maker
from lorry.ops.writing.stack import narrowed
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor


class Target(NamedTuple):
    """The parameter that a layer is made for, its shape, and the layers that it is made of."""

    at: Parameter
    shape: tuple[int, ...]
    sources: Sequence[Layer]


class Made(NamedTuple):
    """The layers at one parameter, their form ("kept", "low rank", "full"), rank, and relative error."""

    layers: tuple[Layer, ...]
    form: str
    rank: int
    error: float


@contextmanager
def within_float32(at: Parameter) -> Iterator[Callable[..., None]]:
    """Yield a check of tensors that raises InvalidArgument for infinity and NaN, as the block does for LinAlgError.

    What goes in is finite (`Deltas` sees to that), so that sums and products alone can bring these about.
    """
    import torch

    outgrown = InvalidArgument(f"{at} outgrows float32; use smaller weights")

    def check(*tensors: Tensor) -> None:
        ends = (end for tensor in tensors if tensor.numel() for end in tensor.aminmax())
        if not all(map(math.isfinite, ends)):
            raise outgrown

    try:
        yield check
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch's stubs leave out the public name
        raise outgrown from error


def kept(at: Parameter, layers: Sequence[Layer], weight: float, deltas: Deltas) -> Made:
    """Keep layers with the weight multiplied into their scales; raise InvalidArgument for a scale beyond float32."""
    import torch

    ranks = [kind.rank(layer.slots) for layer in layers if (kind := deltas.kind(layer)).rank]
    same = tuple(layer if weight == 1 else replace(layer, scale=layer.scale * weight) for layer in layers)
    with within_float32(at) as check:
        check(torch.tensor([layer.scale for layer in same], dtype=torch.float32))
    return Made(same, "kept", sum(ranks), 0.0)


def low_rank(factors: Factors, target: Target, deltas: Deltas, rank: int | None) -> Made:
    """Make a layer of factors, cut to a rank where one is given and theirs is larger.

    Numbers are kept in the dtype that all sources have wherever that loses nothing, else in float32.
    """
    from lorry.algebra.low_rank import truncate

    error = 0.0
    if rank is not None and factors.up.shape[1] > rank:
        with within_float32(target.at):
            cut = truncate(factors, rank)
        factors, error = cut.factors, cut.error
    return _of_factors(factors, target, deltas, error)


def whole(compute: Callable[[], Tensor], target: Target, deltas: Deltas, rank: int | None) -> Made:
    """Make a full difference, computed when it is read; or a low-rank layer where a rank is given.

    Biases and norms, which have one axis, have no rank and stay full.
    """
    if rank is not None and len(target.shape) > 1:
        from lorry.algebra.dense import decompose

        with within_float32(target.at):
            cut = decompose(compute().flatten(1), rank)
        return _of_factors(cut.factors, target, deltas, cut.error)
    make = maker((kind.whole for kind in deltas.plugins.kinds().values()), "full differences")
    made = replace(make(computed(target.shape, compute)), param=target.at.name)
    told = [layer.options for layer in target.sources if layer.kind == made.kind]
    return Made((replace(made, options=told[0]) if told else made,), "full", 0, 0.0)


def _of_factors(factors: Factors, target: Target, deltas: Deltas, error: float) -> Made:
    with within_float32(target.at) as check:
        check(*factors)
    kinds = (*map(deltas.kind, target.sources), *deltas.plugins.kinds().values())
    build = maker((kind.build for kind in kinds), "factors")
    made = replace(build(Factors(factors.down.cpu(), factors.up.cpu()), target.shape), param=target.at.name)
    dtypes = {ref.dtype for layer in target.sources for ref in layer.slots.values()}
    made = narrowed(made, dtypes.pop()) if len(dtypes) == 1 else made
    return Made((made,), "low rank", factors.up.shape[1], error)
