"""Several layers on one module made into one, exactly: factors side by side, ranks added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.layer import Layer
from lorry.ir.tensor import TensorRef, require_torch
from lorry.plugin.kind import Factors, Kind

if TYPE_CHECKING:
    from torch import Tensor


def stack(layers: Sequence[tuple[Layer, float]], kind: Kind) -> Layer:
    """Return one layer whose delta is Σ wᵢ·scaleᵢ·upᵢ·downᵢ; raise Incompatible for kinds without factors.

    Numbers are kept in the dtype they are stored in wherever that loses nothing, else held in float32; raises
    InvalidArgument where scales or weights make them outgrow that.
    """
    if len(layers) == 1:
        layer, weight = layers[0]
        return _rescaled(layer, layer.scale * weight)
    if kind.factors is None or kind.build is None or kind.target is None:
        raise Incompatible(f"layers of kind {kind.name} have no factors to put side by side")
    require_torch("adding layers up")
    import torch

    made = [kind.factors(layer) for layer, _ in layers]
    down = torch.cat([each.down for each in made])
    scaled = [_times(each.up, weight * layer.scale) for each, (layer, weight) in zip(made, layers, strict=True)]
    up = torch.cat(scaled, 1)
    shapes = {kind.target(layer.slots) for layer, _ in layers}
    if len(shapes) != 1:
        raise Incompatible(f"layers of one module want weights of unequal shapes {sorted(map(list, shapes))}")
    built = kind.build(Factors(down, up), shapes.pop())
    dtypes = {ref.dtype for layer, _ in layers for ref in layer.slots.values()}
    return narrowed(built, dtypes.pop()) if len(dtypes) == 1 else built


def flattened(layer: Layer, kind: Kind) -> Layer:
    """Return the layer in its kind's plain form of two factors (Tucker cores multiplied out), at the same scale."""
    if kind.factors is None or kind.build is None or kind.target is None:
        raise Incompatible(f"layers of kind {kind.name} have no plain form")
    require_torch("multiplying a Tucker core out")
    built = kind.build(kind.factors(layer), kind.target(layer.slots))
    return Layer(kind=built.kind, slots=built.slots, scale=layer.scale, param=layer.param, options=layer.options)


def folded(layer: Layer, kind: Kind) -> Layer:
    """Return the layer with its scale multiplied into its factors, for formats that keep no scale.

    Raises InvalidArgument where that outgrows float32.
    """
    if kind.factors is None or kind.build is None or kind.target is None:
        raise Incompatible(f"layers of kind {kind.name} have no factors to multiply a scale into")
    require_torch("multiplying the scale into the factors")
    made = kind.factors(layer)
    built = kind.build(Factors(made.down, _times(made.up, layer.scale)), kind.target(layer.slots))
    dtypes = {ref.dtype for ref in layer.slots.values()}
    return narrowed(built, dtypes.pop()) if len(dtypes) == 1 else built


def _rescaled(layer: Layer, scale: float) -> Layer:
    return Layer(kind=layer.kind, slots=layer.slots, scale=scale, param=layer.param, options=layer.options)


def _times(up: Tensor, scale: float) -> Tensor:
    made = up * scale
    if bool(made.isinf().any()) and not bool(up.isinf().any()):
        raise InvalidArgument(f"a layer multiplied by {scale:.3g} outgrows float32; use smaller weights")
    return made


def narrowed(layer: Layer, dtype: str) -> Layer:
    """Store float32 slots in `dtype` if every number survives that, else leave them."""
    import torch

    slots: dict[str, TensorRef] = {}
    for slot, ref in layer.slots.items():
        wide = ref.torch()
        narrow = wide.to(TensorRef(dtype, (0,), ()).torch().dtype)
        if not torch.equal(narrow.to(torch.float32), wide):
            return layer
        slots[slot] = TensorRef.from_torch(narrow)
    return Layer(kind=layer.kind, slots=slots, scale=layer.scale, param=layer.param, options=layer.options)
