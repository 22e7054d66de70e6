"""A LoRA for more input channels than the model has: the weight is widened with zeros before anything is added.

So are made Black Forest Labs' control LoRAs, whose model sees a control picture beside the noise, and ComfyUI's
files with `reshape_weight`. Sources: Black Forest Labs flux/util.py (`optionally_expand_state_dict`); ComfyUI
comfy/weight_adapter/lora.py (`pad_tensor_to_shape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import Incompatible, InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import encode_scalar, from_bytes
from lorry.plugin import Kind

if TYPE_CHECKING:
    from torch import Tensor


def widened(kind: Kind, name: str, title: str) -> Kind:
    """Return the widening form of an additive kind; it fits any weight of at most its own target's shape.

    Raises TypeError for a kind that adds to no weight.
    """
    add = kind.apply
    if add is None:
        raise TypeError(f"{kind.name} adds to no weight, so nothing can be widened")

    def full(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
        if kind.rank is not None:
            kind.rank(slots)  # slots that do not fit one another have no target
        return kind.target(slots) if kind.target else ()

    def apply(weight: Tensor, layer: Layer) -> Tensor:
        return add(_padded(weight, full(layer.slots)), layer)

    def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
        rows, _, *kernel = full(slots)
        return (rows, -1, *kernel)

    def read(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
        slots = dict(layer.slots)
        shape = slots.pop("shape")
        told = (
            tuple(int(shape.rows(at, at + 1).item()) for at in range(shape.shape[0])) if len(shape.shape) == 1 else ()
        )
        if told != full(slots):
            raise InvalidFile(f"reshape_weight says {list(told)}, and the factors are for {list(full(slots))}")
        return replace(layer, slots=slots)

    def write(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.write`
        shape = full(layer.slots)
        told = from_bytes("I64", (len(shape),), b"".join(encode_scalar("I64", size) for size in shape))
        return replace(layer, slots={**layer.slots, "shape": told})

    control = [each._replace(family="bfl-control") for each in kind.spellings if each.family == "peft"]
    reshaping = [
        each._replace(slots={**each.slots, "reshape_weight": "shape"}, read=read, write=write)
        for each in kind.spellings
    ]
    return Kind(
        name=name,
        title=title,
        spellings=(*control, *reshaping),
        apply=apply,
        rank=kind.rank,
        target=target,
        row_slots=kind.row_slots,
        join=kind.join,
        unjoin=kind.unjoin,
        needs_weight=True,
        changes_shape=True,
        samples="lorry_plugins.adapters.samples:" + name.upper().replace("-", "_"),
    )


def _padded(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    if weight.shape == shape:
        return weight
    if weight.ndim != len(shape) or any(have > want for have, want in zip(weight.shape, shape, strict=True)):
        raise Incompatible(f"a weight of shape {list(weight.shape)} cannot be widened to {list(shape)}")
    wide = weight.new_zeros(shape)
    wide[tuple(slice(size) for size in weight.shape)] = weight
    return wide
