"""A layer as the full delta it adds, computed when it is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lorry.ir import Layer
from lorry.ir.computed import computed

if TYPE_CHECKING:
    from torch import Tensor

Delta = Callable[[Layer], "Tensor"]
"""The delta of a layer, of shape (out, in · kernel) in float32, its scale left out."""


def dense(layer: Layer, delta: Delta, rows: int, columns: int) -> Layer:
    """Return a layer of kind `diff` that adds the same."""
    ref = computed((rows, columns), partial(delta, layer))
    return Layer(kind="diff", slots={"diff": ref}, scale=layer.scale, param=layer.param)
