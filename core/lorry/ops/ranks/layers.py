"""Layers made of what was cut: built by the kinds that can, rounded once, and a size dealt out over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from lorry.algebra.ranks import spread
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.layer import Layer
from lorry.ir.tensor import TensorRef
from lorry.ops.merging.deltas import Parameter
from lorry.ops.writing.cast import cast
from lorry.plugin.host import Host
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("F32", "F16", "BF16")
"""What factors may be stored in."""

_ENTRY, _HEADER = 90, 2000
"""Bytes in a file beside numbers: of a tensor (suffix, dtype, shape, offsets) and of the header's entries."""


def low_rank_layer(at: Parameter, factors: Factors, shape: tuple[int, ...], dtype: str, plugins: Host) -> Layer:
    """Make a layer of float32 factors for a weight of `shape`; raise Incompatible where no installed kind can."""
    build = maker((kind.build for kind in plugins.kinds().values()), "factors")
    return rounded(build(Factors(factors.down.cpu(), factors.up.cpu()), shape), at, dtype)


def maker(makers: Iterable[Callable[..., Layer] | None], what: str) -> Callable[..., Layer]:
    """Return the first that makes layers; raise Incompatible where none does."""
    found = next((make for make in makers if make), None)
    if found is None:
        raise Incompatible(f"no installed kind is made of {what}; install one")
    return found


def rounded(layer: Layer, at: Parameter, dtype: str) -> Layer:
    """Return a layer of a parameter with its numbers rounded to `dtype`."""
    slots = {slot: cast(ref, dtype) for slot, ref in layer.slots.items()}
    return replace(layer, slots=slots, param=at.name)


def numbers_of_a_rank(shape: tuple[int, ...]) -> int:
    """Return how many numbers one rank of a weight takes."""
    return shape[0] + prod(shape[1:])


def deal_out(
    size: int,
    spectra: Sequence[Tensor],
    costs: Sequence[float],
    names: Iterable[Parameter],
    rest: Iterable[TensorRef],
) -> list[int]:
    """Return the rank of each low-rank layer, so that a whole adapter fits `size` bytes and keeps the most it can.

    spectra, costs: the singular values of each, and the bytes of one rank of it. names: the parameter of every tensor
    in the adapter; rest: the tensors beside the factors. Raises InvalidArgument where nothing is left for these.
    """
    others = sum(ref.nbytes for ref in rest)
    entries = sum(len(str(at)) + _ENTRY for at in names) + _HEADER
    left = size - others - entries
    if left <= 0:
        raise InvalidArgument(
            f"{size} bytes do not hold the names of all layers ({entries} bytes) and what has no rank, such as biases "
            f"({others} bytes); give more, or leave the latter out"
        )
    return spread(spectra, costs, left)
