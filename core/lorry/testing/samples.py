"""Sample layers of a kind: the forms its plugin tells of, filled with random numbers.

# in lorry_mine_samples.py, and in the kind: samples="lorry_mine_samples:FORMS"
FORMS = {"mine": lambda random, shape: Layer(kind="mine", slots={"rows": random(shape[0])}, scale=random.scale)}
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import torch

from lorry.ir import Layer, TensorRef
from lorry.plugin import Factors, Kind

Shape = tuple[int, ...]


class Random:
    """Random tensors from one seed, and the rank and scale that a form should use where it has such."""

    def __init__(self, seed: int = 0, rank: int = 4, scale: float = 0.5) -> None:
        self.rank, self.scale = rank, scale
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, size: float = 1.0) -> TensorRef:
        """Return normal float32 numbers of standard deviation `size`."""
        return TensorRef.from_torch(self.weight(shape) * size)

    def weight(self, shape: Shape) -> torch.Tensor:
        """Return normal float32 numbers."""
        return torch.randn(shape, generator=self._generator)

    def factors(self, shape: Shape) -> Factors:
        """Return factors for a weight of a shape.

        Their signs go by row and column, so that ranks never cancel out and errors are seen against numbers of
        their size.
        """
        down, up = self.weight((self.rank, torch.Size(shape[1:]).numel())), self.weight((shape[0], self.rank))
        return Factors(down.abs() * down[:1].sign(), up.abs() * up[:, :1].sign())


Form = Callable[[Random, Shape], Layer | None]
"""Makes a layer for a weight of that shape; None where a weight of this shape has no such form."""


def forms(kind: Kind) -> Mapping[str, Form]:
    """Return the forms a kind comes in, by name: those its plugin tells of, else the one it builds from factors."""
    if kind.samples:
        module, _, attribute = kind.samples.partition(":")
        found: Mapping[str, Form] = getattr(importlib.import_module(module), attribute)
        return found
    build = kind.build
    if build is None:
        return {}

    def built(random: Random, shape: Shape) -> Layer:
        made = build(random.factors(shape), shape)
        return Layer(kind=made.kind, slots=made.slots, scale=random.scale, param=made.param, options=made.options)

    return {kind.name: built}


def told(layer: Layer) -> str:
    """Say briefly what a layer is, for a message."""
    slots = ", ".join(f"{slot} {ref.dtype}{list(ref.shape)}" for slot, ref in layer.slots.items())
    options = f", {dict(layer.options)}" if layer.options else ""
    return f"{layer.kind}({slots}) of scale {layer.scale:g}{options}"
