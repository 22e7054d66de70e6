"""Adding adapters to a base's weights: W' = W + Σ tᵢ (applyᵢ(W) - W), in float32, rounded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lorry.errors import Incompatible, Unmapped
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.tensor import TensorRef, require_torch
from lorry.ops.base import Base
from lorry.ops.read import check_fits
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from torch import Tensor

Weighted = Adapter | tuple[Adapter, float]
"""An adapter, alone for strength 1 or with its strength."""


@dataclass(frozen=True, kw_only=True)
class Baked(Mapping[str, "Tensor"]):
    """The weights of a base with adapters added, computed as they are asked for.

    Keys are "component.module.param", in the base's order; every value is a new tensor in the base's dtype.
    Iterate to stream: nothing is kept. Learned tokens are vocabulary and not among the weights.
    """

    base: Base
    changes: Mapping[str, Sequence[tuple[Layer, float]]]
    plugins: Host = field(repr=False)

    def __getitem__(self, name: str) -> Tensor:
        ref = self.base.tensors[name]
        return self._computed(name, ref) if name in self.changes else ref.torch()

    def __iter__(self) -> Iterator[str]:
        return iter(self.base.tensors)

    def __len__(self) -> int:
        return len(self.base.tensors)

    def compute(self, name: str, ref: TensorRef) -> Tensor:
        """Compute one changed tensor of its own shape; raise Incompatible where a layer changes that."""
        total = self._computed(name, ref)
        if total.shape != ref.shape:
            raise Incompatible(
                f"the adapter makes {name} {list(total.shape)} instead of {list(ref.shape)}, which the base's "
                "configuration would contradict; use the tensors, without writing them as that base"
            )
        return total

    def _computed(self, name: str, ref: TensorRef) -> Tensor:
        import torch

        pristine = ref.torch(dtype=torch.float32)
        own = ref.torch().dtype
        total = pristine.clone()
        for layer, strength in self.changes[name]:
            kind = self.plugins.get("kinds", layer.kind)
            if kind.factors is not None:
                down, up = kind.factors(layer)
                total.view(up.shape[0], -1).addmm_(up, down, alpha=strength * layer.scale)
            else:
                changed = kind.apply(pristine, layer)
                pristine, total = widened(pristine, changed.shape), widened(total, changed.shape)
                total += strength * (changed - pristine)
        return total.to(own)


def bake(base: Base, adapters: Sequence[Weighted], *, partial: bool = False, plugins: Host | None = None) -> Baked:
    """Return the base's weights with the adapters added at their strengths, lazily.

    Raises Incompatible for adapters of another base and Unmapped for those not fully understood, unless
    `partial`. The order of adapters makes no difference beyond rounding.
    """
    plugins = plugins or host()
    if adapters:
        require_torch("baking")
        check_plain(base)
    changes: dict[str, list[tuple[Layer, float]]] = {}
    for adapter, strength in weighted(adapters):
        check_understood(adapter, partial=partial)
        check_fits(adapter, base, plugins)
        for path, layers in adapter.layers.items():
            for layer in layers:
                kind = plugins.get("kinds", layer.kind)
                if kind.timestep:
                    raise Incompatible(
                        f"what {kind.title} does at {path} depends on the timestep, and no weight can hold that"
                    )
                name = f"{path}.{layer.param}"
                if name not in base.tensors:
                    raise Incompatible(f"the adapter changes {name}, and {base.path} has no such parameter")
                changes.setdefault(name, []).append((layer, strength))
                if kind.multiplies_output(layer) and f"{path}.bias" in base.tensors:
                    changes.setdefault(f"{path}.bias", []).append((layer, strength))
    return Baked(base=base, changes=changes, plugins=plugins)


def check_plain(base: Base) -> None:
    """Raise Incompatible where the weights are quantised, so that no number can be added to them."""
    if base.quantised:
        raise Incompatible(
            f"{base.path} holds {base.quantised}, which no arithmetic here can use; take the base's unquantised weights"
        )


def weighted(adapters: Sequence[Weighted]) -> list[tuple[Adapter, float]]:
    """Give every adapter its strength, 1 where none is said."""
    return [each if isinstance(each, tuple) else (each, 1.0) for each in adapters]


def check_understood(adapter: Adapter, *, partial: bool = False) -> None:
    """Raise Unmapped where keys of the adapter are not understood, unless a part will do."""
    if adapter.report.unmapped and not partial:
        where = adapter.origin[0].path.name if adapter.origin else "the adapter"
        raise Unmapped(
            where, adapter.report.unmapped, "install the plugin that reads it, or ask for the rest alone (partial)"
        )


def widened(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the tensor within zeros of a larger shape; a tensor of that shape is returned as it is."""
    if tensor.shape == shape:
        return tensor
    wide = tensor.new_zeros(shape)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
