"""(IA)³: rows or columns of a weight multiplied by learned numbers.

    W' = (offset + l) ⊙ W        offset 1 in LyCORIS' files, 0 in peft's

Sources: Liu et al., (IA)³ (arXiv:2205.05638); LyCORIS lycoris/modules/ia3.py; peft src/peft/tuners/ia3/layer.py,
which multiplies what the module puts out, and so its bias too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import Incompatible, InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import from_scalar
from lorry.plugin import Kind, Spelling, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return the multiplied weight (or bias) in float32."""
    import torch

    ((slot, ref),) = layer.slots.items()
    factor = ref.torch(weight.device, torch.float32).flatten() + layer.options.get("offset", 0.0)
    axis = 1 if slot == "columns" else 0
    multiplied: Tensor = weight.float() * factor.reshape([-1 if each == axis else 1 for each in range(weight.ndim)])
    return multiplied


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the rows or the columns of the weight; its kernel is not told of linear layers."""
    ((slot, ref),) = slots.items()
    kernel = tuple(-1 for _ in ref.shape[2:])
    return (-1, ref.numel, *kernel) if slot == "columns" else (ref.numel, -1, *kernel)


def _read_lycoris(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    ref = _vector(layer.slots["factor"])
    slot = "columns" if layer.slots["on_input"].item() else "rows"
    return replace(layer, slots={slot: ref}, options={"offset": 1.0})


def _write_lycoris(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    """Refuse factors of the output, which LyCORIS cannot say, and those with no 1 added."""
    ((slot, ref),) = layer.slots.items()
    if slot == "output" or layer.options.get("offset") != 1:
        return None
    return replace(layer, slots={"factor": ref, "on_input": from_scalar(slot == "columns", "I64")})


def _read_peft(layer: Layer, facts: Mapping[str, Any]) -> Layer:
    ref = _vector(layer.slots["factor"])
    kernel = len(ref.shape) > 2  # noqa: PLR2004  a convolution
    if kernel and facts.get("ia3_feedforward"):
        raise Incompatible("peft stores factors of a convolution's rows and columns alike, and here both may be meant")
    slot = "output" if kernel or ref.shape[-1] == 1 else "columns"
    return replace(layer, slots={slot: ref})


def _write_peft(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    ((slot, ref),) = layer.slots.items()
    kernel = len(ref.shape) > 2  # noqa: PLR2004  a convolution
    if slot == "rows" or layer.options.get("offset") or (slot == "columns" and (kernel or ref.numel == 1)):
        return None
    return replace(layer, slots={"factor": ref})


def _vector(ref: TensorRef) -> TensorRef:
    if not ref.shape or ref.numel != max(ref.shape):
        raise InvalidFile(f"factors of shape {list(ref.shape)} are neither one a row nor one a column")
    return ref


IA3 = Kind(
    name="ia3",
    title="(IA)³",
    spellings=(
        Spelling(
            family="kohya",
            slots={"weight": "factor", "on_input": "on_input"},
            read=_read_lycoris,
            write=_write_lycoris,
        ),
        Spelling(family="peft-folder", slots={"ia3_l": "factor"}, read=_read_peft, write=_write_peft),
    ),
    apply=apply,
    target=target,
    row_slots=("rows", "output"),
    output_slots=("output",),
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:IA3",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer (IA)³."""
    return [IA3]
