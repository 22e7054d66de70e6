"""OFT as peft and OneTrainer have it: input columns rotated in blocks.

    W' = W · Rᵀ,   R from the packed upper triangle of Q by Cayley's transform or the first terms of its series,
    I + 2Q + 2Q² + … + Qⁿ⁻¹

One block may serve all columns. Constrained OFT bounds ‖Q‖ of every block. Sources: peft
src/peft/tuners/oft/layer.py (`OFTRotationModule`); for OneTrainer's files, which scale Q by 1/√(numbers a block)
where they are marked so and rotate convolutions by R, ComfyUI comfy/weight_adapter/oftv2.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import from_scalar
from lorry.plugin import Kind, Spelling, hookimpl
from lorry_plugins.adapters.rotation import cayley

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_SERIES = 5
"""Terms of the series where no configuration says another number."""

_DEFAULTS: Mapping[str, Any] = {"terms": _SERIES, "limit": 0.0, "scaled": False, "convolutions_by_r": False}


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return the rotated weight in float32."""
    import torch

    options = {**_DEFAULTS, **layer.options}
    rotations = _rotations(layer.slots["generators"].torch(weight.device, torch.float32), options)
    if not (options["convolutions_by_r"] and weight.ndim > 2):  # noqa: PLR2004  a convolution
        rotations = rotations.mT
    size = rotations.shape[-1]
    columns = weight.float().reshape(weight.shape[0], -1, size)
    return torch.einsum("ork,rkc->orc", columns, rotations.expand(columns.shape[1], size, size)).reshape(weight.shape)


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the columns of the weight, kernel and all, where more than one block tells them."""
    blocks, _ = slots["generators"].shape
    return (-1, blocks * _size(slots) if blocks > 1 else -1, -1)


def _rotations(packed: Tensor, options: Mapping[str, Any]) -> Tensor:
    import torch

    size = _block(packed.shape[1])
    if options["scaled"]:
        packed = packed / math.sqrt(packed.shape[1])
    rows, columns = torch.triu_indices(size, size, 1, device=packed.device)
    generators = packed.new_zeros(len(packed), size, size)
    generators[:, rows, columns] = packed
    generators = generators - generators.mT
    if options["limit"]:
        norms = generators.flatten(1).norm(dim=1).clamp_min(torch.finfo(packed.dtype).tiny)
        bound = options["limit"] / math.sqrt(len(packed))
        generators = generators * (bound / norms).clamp_max(1.0).reshape(-1, 1, 1)
    return _series(generators, options["terms"]) if options["terms"] else cayley(-generators)


def _series(generators: Tensor, terms: int) -> Tensor:
    import torch

    total = torch.eye(generators.shape[-1], device=generators.device).expand_as(generators).clone()
    power = total
    last = max(terms, 4) - 1 if terms > 2 else terms  # noqa: PLR2004  as peft counts: 3 terms are the same as 4
    for term in range(1, max(terms, last + 1)):
        power = power @ generators
        total = total + power * (1.0 if term == last else 2.0)
    return total


def _block(numbers: int) -> int:
    """Return b where b(b - 1)/2 numbers are stored."""
    return (1 + math.isqrt(1 + 8 * numbers)) // 2


def _size(slots: Mapping[str, TensorRef]) -> int:
    return _block(slots["generators"].shape[1])


def _read(layer: Layer, facts: Mapping[str, Any]) -> Layer:
    """Check the triangle, and take what the configuration says."""
    ref = layer.slots["generators"]
    size = _size(layer.slots) if len(ref.shape) == 2 else 0  # noqa: PLR2004  one row a block
    if not size or size * (size - 1) // 2 != ref.shape[1]:
        raise InvalidFile(f"generators of shape {list(ref.shape)} are no packed triangles")
    slots = {slot: ref for slot, ref in layer.slots.items() if slot != "scaled"}
    told = {**_DEFAULTS, **facts.get("oft", {}), "scaled": "scaled" in layer.slots}
    return replace(layer, slots=slots, options={key: value for key, value in told.items() if value != _DEFAULTS[key]})


def _read_onetrainer(layer: Layer, facts: Mapping[str, Any]) -> Layer:
    return _read(layer, {**facts, "oft": {"convolutions_by_r": True}})


def _write(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    """Refuse what only OneTrainer's files can say."""
    return None if layer.options.get("scaled") or layer.options.get("convolutions_by_r") else layer


def _write_onetrainer(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    options = {**_DEFAULTS, **layer.options}
    if options["terms"] != _SERIES or options["limit"] or not options["convolutions_by_r"]:
        return None
    marker = {"scaled": from_scalar(1, "BOOL")} if options["scaled"] else {}
    return replace(layer, slots={**layer.slots, **marker})


OFT = Kind(
    name="oft",
    title="OFT on the input",
    spellings=(
        Spelling(family="peft-folder", slots={"oft_R.weight": "generators"}, read=_read, write=_write),
        Spelling(
            family="kohya",
            slots={"oft_R.weight": "generators", "oft_R.scaled_oft": "scaled"},
            optional=frozenset({"scaled"}),
            read=_read_onetrainer,
            write=_write_onetrainer,
        ),
    ),
    apply=apply,
    target=target,
    needs_weight=True,
    samples="lorry_plugins.adapters.samples:OFT",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer OFT."""
    return [OFT]
