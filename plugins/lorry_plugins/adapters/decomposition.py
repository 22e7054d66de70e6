"""DoRA: any kind that adds to a weight, with the length of every row (or column) of the sum learned apart.

    V = W + scale · ΔW,  W' = V · m / ‖V‖        norms over each output's row, or over each input's column

Sources: Liu et al., DoRA (arXiv:2402.09353) section 4; LyCORIS lycoris/functional/general.py
(`_weight_decompose`), whose ε keeps an empty row at 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.plugin import Kind, Spelling

if TYPE_CHECKING:
    from torch import Tensor

_SPELLED, _ROWS, _COLUMNS = "dora_scale", "magnitude", "magnitude_in"


def decomposed(kind: Kind, name: str, title: str) -> Kind:
    """Return the weight-decomposed form of an additive kind; raise TypeError for one that adds to no weight."""
    add = kind.apply
    if add is None:
        raise TypeError(f"{kind.name} adds to no weight, so nothing can be decomposed")

    def apply(weight: Tensor, layer: Layer) -> Tensor:
        return _resized(add(weight, layer), layer)

    return Kind(
        name=name,
        title=title,
        spellings=tuple(_spellings(kind)),
        apply=apply,
        rank=kind.rank,
        target=kind.target,
        row_slots=(*kind.row_slots, _ROWS),
        whole_slots=(*kind.whole_slots, _COLUMNS),
        needs_weight=True,
        samples="lorry_plugins.adapters.samples:" + name.upper().replace("-", "_"),
    )


def _resized(total: Tensor, layer: Layer) -> Tensor:
    import torch

    axis, slot = (0, _ROWS) if _ROWS in layer.slots else (1, _COLUMNS)
    length = layer.slots[slot].torch(total.device, torch.float32).flatten()
    norm = torch.linalg.vector_norm(total.transpose(0, axis).flatten(1), dim=1) + torch.finfo(torch.float32).eps
    resized: Tensor = total * (length / norm).reshape([-1 if each == axis else 1 for each in range(total.ndim)])
    return resized


def _spellings(kind: Kind) -> Iterator[Spelling]:
    for spelling in kind.spellings:
        if spelling.family == "peft-folder":  # peft decomposes its LoRA alone
            continue
        if spelling.family == "peft-embedding":
            turned = _TurnedMagnitude(kind, spelling)
            slots = {**spelling.slots, "lora_magnitude_vector": _SPELLED}
            yield spelling._replace(slots=slots, read=turned.read, write=turned.write)
            continue
        plain = _Magnitude(kind, spelling)
        lycoris = spelling._replace(
            slots={**spelling.slots, "dora_scale": _SPELLED}, read=plain.read, write=plain.write
        )
        if spelling.family != "peft":
            yield lycoris
            continue
        peft = _PeftMagnitude(kind, spelling)
        suffixes = {"lora_magnitude_vector": _SPELLED, "lora_magnitude_vector.weight": _SPELLED}
        yield spelling._replace(slots={**spelling.slots, **suffixes}, read=peft.read, write=peft.write)
        yield lycoris._replace(write=_never)  # some tools mix the two; peft does not read it


def _never(layer: Layer, facts: Mapping[str, Any]) -> None:  # noqa: ARG001  the shape of `Spelling.write`
    return None


class _Magnitude:
    """The slot as LyCORIS stores it: (out, 1 …) or (1, in, 1 …)."""

    def __init__(self, kind: Kind, spelling: Spelling) -> None:
        self._kind, self._spelling = kind, spelling

    def read(self, layer: Layer, facts: Mapping[str, Any]) -> Layer:
        slots = dict(layer.slots)
        stored = slots.pop(_SPELLED)
        plain = self._spelling.read(replace(layer, slots=slots), facts)
        return replace(plain, slots={**plain.slots, self._slot(stored, plain): self._known(stored, plain)})

    def write(self, layer: Layer, facts: Mapping[str, Any]) -> Layer | None:
        slots = dict(layer.slots)
        slot = _ROWS if _ROWS in slots else _COLUMNS
        stored = slots.pop(slot)
        plain = self._spelling.write(replace(layer, slots=slots), facts)
        told = self._stored(stored, slot, layer)
        if plain is None or told is None:
            return None
        return replace(plain, slots={**plain.slots, _SPELLED: told})

    def _target(self, layer: Layer) -> tuple[int, ...]:
        if self._kind.rank is not None:
            self._kind.rank(layer.slots)  # slots that do not fit one another have no target
        return self._kind.target(layer.slots) if self._kind.target else ()

    def _slot(self, stored: TensorRef, layer: Layer) -> str:
        rows = self._target(layer)[0]
        if stored.shape[:1] == (rows,) and stored.numel == rows:
            return _ROWS
        if len(stored.shape) > 1 and stored.numel == stored.shape[1]:
            return _COLUMNS
        raise InvalidFile(f"a magnitude of shape {list(stored.shape)} is neither one a row nor one a column")

    def _known(self, stored: TensorRef, layer: Layer) -> TensorRef:  # noqa: ARG002  peft's needs it
        return stored

    def _stored(self, known: TensorRef, slot: str, layer: Layer) -> TensorRef | None:  # noqa: ARG002  peft's needs it
        return known


class _PeftMagnitude(_Magnitude):
    """The slot as peft stores it, always one a row: (out), of convolutions (1, out, 1, 1)."""

    def _slot(self, stored: TensorRef, layer: Layer) -> str:
        if stored.numel != self._target(layer)[0]:
            raise InvalidFile(f"a magnitude of shape {list(stored.shape)} is not one a row")
        return _ROWS

    def _known(self, stored: TensorRef, layer: Layer) -> TensorRef:
        return stored.reshape(stored.numel, *(1 for _ in self._target(layer)[1:]))

    def _stored(self, known: TensorRef, slot: str, layer: Layer) -> TensorRef | None:
        kernel = self._target(layer)[2:]
        shape = (1, known.numel, *(1 for _ in kernel)) if kernel else (known.numel,)
        return known.reshape(*shape) if slot == _ROWS else None


class _TurnedMagnitude(_Magnitude):
    """The slot as peft stores it for embeddings, whose weight it takes transposed: always one a column, (in)."""

    def _slot(self, stored: TensorRef, layer: Layer) -> str:
        if stored.numel != self._target(layer)[1]:
            raise InvalidFile(f"a magnitude of shape {list(stored.shape)} is not one a column")
        return _COLUMNS

    def _known(self, stored: TensorRef, layer: Layer) -> TensorRef:  # noqa: ARG002  other spellings need it
        return stored.reshape(1, stored.numel)

    def _stored(self, known: TensorRef, slot: str, layer: Layer) -> TensorRef | None:  # noqa: ARG002  as above
        return known.reshape(known.numel) if slot == _COLUMNS else None
