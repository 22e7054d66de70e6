"""A layer on trial: with a weight that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from lorry.errors import Incompatible
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.bases.base import Base
from lorry.plugin import Kind
from lorry.plugin.host import Host
from lorry.testing.samples import told

PATH = ModulePath("model", "block.module")

EXACT, ROUNDED = 1e-5, 1e-4
"""Tolerances of float32 arithmetic, by the size of the numbers: of one sum, and of a few."""


class Trial(NamedTuple):
    """A layer of a kind and a weight that it is for, among the plugins they are tried with."""

    kind: Kind
    layer: Layer
    weight: torch.Tensor
    plugins: Host

    def __str__(self) -> str:
        return f"{told(self.layer)} on a weight of {list(self.weight.shape)}"

    def applied(self, layer: Layer | None = None, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the layer, or another one, makes of the weight, or of another one."""
        return applied(self.plugins, layer or self.layer, self.weight if weight is None else weight)

    @property
    def adapter(self) -> Adapter:
        """Return an adapter of just this layer."""
        return Adapter(base="none", layers={PATH: (self.layer,)})

    def base(self, bias: torch.Tensor | None = None) -> Base:
        """Return a base of just this weight, and of a bias."""
        tensors = {f"{PATH}.weight": TensorRef.from_torch(self.weight)}
        if bias is not None:
            tensors[f"{PATH}.bias"] = TensorRef.from_torch(bias)
        return Base(id="none", path=Path("memory"), tensors=tensors, files={})


def applied(plugins: Host, layer: Layer, weight: torch.Tensor) -> torch.Tensor:
    """Return what a layer of any installed kind makes of a weight."""
    apply = plugins.get("kinds", layer.kind).apply
    if apply is None:
        raise Incompatible(f"kind {layer.kind} applies to nothing")
    made: torch.Tensor = apply(weight, layer)
    return made
