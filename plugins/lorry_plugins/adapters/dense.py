"""A layer as the full delta it adds, computed when it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import Segment

if TYPE_CHECKING:
    from torch import Tensor

Delta = Callable[[Layer], "Tensor"]
"""The delta of a layer, of shape (out, in · kernel) in float32, its scale left out."""


def dense(layer: Layer, delta: Delta, rows: int, columns: int) -> Layer:
    """Return a layer of kind `diff` that adds the same."""
    ref = TensorRef("F32", (rows, columns), (Segment(_DeltaSource(layer, delta), 0, 4 * rows * columns),))
    return Layer(kind="diff", slots={"diff": ref}, scale=layer.scale, param=layer.param)


class _DeltaSource:
    """The bytes of a delta. It is computed anew for every reading, so that nothing large is held."""

    def __init__(self, layer: Layer, delta: Delta) -> None:
        self._layer, self._delta = layer, delta

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`."""
        buffer[:] = TensorRef.from_torch(self._delta(self._layer)).tobytes()[start : start + len(buffer)]
