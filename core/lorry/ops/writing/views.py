"""Fused modules: a layer of the whole cut into layers of its parts, and parts joined into the whole.

Splitting is exact for every kind: the slots that carry output rows are cut, the others are shared by all
parts, byte for byte; what cannot be cut so is taken in its kind's dense form. Joining is exact and of the
same size where the shared slots agree; otherwise the kind itself must know how (LoRA: block-diagonal, at the
sum of the ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from lorry.errors import Incompatible, InvalidFile
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ops.reading.names import Target
from lorry.plugin.kind import Kind


def split(layer: Layer, kind: Kind, target: Target) -> list[Layer]:
    """Cut a layer of a fused module into one layer a part.

    Raises InvalidFile where its rows do not divide, and Incompatible where this layer only makes sense whole.
    """
    if len(target.parts) == 1 and "." in "".join(layer.slots):
        layer = replace(layer, slots=_own(layer.slots, 0))
    rows = {slot: layer.slots[slot] for slot in kind.row_slots if slot in layer.slots}
    if len(target.parts) == 1 and not target.flip and () not in [ref.shape for ref in rows.values()]:
        return [layer]
    whole = [slot for slot in layer.slots if slot in kind.whole_slots]
    shares = (1, 1) if target.flip else target.rows
    told = kind.target(layer.slots)[0] if kind.target and rows else -1
    if len(shares) > 1 and kind.dense and (whole or not all(_divides(ref, shares) for ref in rows.values())):
        layer = kind.dense(layer)
        rows, whole = dict(layer.slots), []
    if whole and len(shares) > 1:
        raise Incompatible(
            f"{kind.title} with {', '.join(whole)} speaks of all rows of {target.name} together, "
            f"which has {len(target.parts)} parts here"
        )
    for slot, ref in rows.items():
        if not _divides(ref, shares):
            error = Incompatible if told > 0 and told % sum(shares) == 0 else InvalidFile
            raise error(
                f"{target.name}: {ref.shape[0] if ref.shape else 0} rows of {slot} do not divide into "
                f"{len(target.parts)} parts of {':'.join(map(str, target.rows))}"
            )
    if target.flip:
        return [replace(layer, slots={**layer.slots, **{slot: flip(ref) for slot, ref in rows.items()}})]
    return [
        replace(layer, slots=_own({**layer.slots, **{slot: _part(ref, target, at) for slot, ref in rows.items()}}, at))
        for at in range(len(target.parts))
    ]


def join(parts: Sequence[Layer | None], kind: Kind, target: Target) -> Layer | None:
    """Join the layers of all parts of a fused module, or return None where this kind cannot.

    A missing part (None) changes nothing in the base and is joined as zeros.
    """
    first = next(part for part in parts if part is not None)
    if len(parts) == 1 and not target.flip:
        return first
    whole = any(slot in kind.whole_slots for part in parts if part is not None for slot in part.slots)
    odd = any(not _divides(ref, (1, 1)) for slot, ref in first.slots.items() if slot in kind.row_slots)
    if whole or (odd and target.flip):
        return None
    if len(parts) == 1:
        return replace(
            first, slots={slot: flip(ref) if slot in kind.row_slots else ref for slot, ref in first.slots.items()}
        )
    present = [part for part in parts if part is not None]
    if not _proportional(parts, kind, target):
        return None
    if len(present) == len(parts) and _alike(present, kind):
        rows = {
            slot: TensorRef.cat([part.slots[slot] for part in present])
            for slot in kind.row_slots
            if slot in first.slots
        }
        return replace(first, slots={**first.slots, **rows})
    return kind.join(parts, _rows(parts, kind, target)) if kind.join else None


def unjoined(adapter: Adapter, kinds: Mapping[str, Kind]) -> Adapter:
    """Give every part of a fused module only what is its own, where parts were joined and not trained as one.

    Reads the slots that carry output rows. Parts that share anything stay as they are.
    """
    layers = dict(adapter.layers)
    for frame in adapter.origin:
        groups: dict[tuple[str, ...], list[ModulePath]] = {}
        for path in frame.layers:
            groups.setdefault(frame.keys[path], []).append(path)
        for paths in groups.values():
            stacks = [layers.get(path, ()) for path in paths]
            if len(paths) < 2 or any(len(stack) != 1 for stack in stacks):  # noqa: PLR2004  one module is not fused
                continue
            unjoin = kinds[stacks[0][0].kind].unjoin
            parts = unjoin([stack[0] for stack in stacks]) if unjoin else None
            for path, part in zip(paths, parts or (), strict=False):
                if part is None:
                    del layers[path]
                else:
                    layers[path] = (part,)
    return replace(adapter, layers=layers)


def _divides(ref: TensorRef, shares: Sequence[int]) -> bool:
    return bool(ref.shape) and ref.shape[0] % sum(shares) == 0


def _own(slots: Mapping[str, TensorRef], at: int) -> dict[str, TensorRef]:
    """Keep of the slots `name.N`, which belong to one part each, the one of this part, as `name`."""
    return {
        slot.removesuffix(f".{at}"): ref for slot, ref in slots.items() if "." not in slot or slot.endswith(f".{at}")
    }


def _part(ref: TensorRef, target: Target, at: int) -> TensorRef:
    return ref.rows(*bounds(ref.shape[0], target.rows)[at])


def _proportional(parts: Sequence[Layer | None], kind: Kind, target: Target) -> bool:
    """Tell whether the parts' rows stand in the view's proportions, by which reading cuts the whole again."""
    for slot in kind.row_slots:
        units = {
            part.slots[slot].shape[0] / share
            for part, share in zip(parts, target.rows, strict=True)
            if part is not None and slot in part.slots
        }
        if len(units) > 1 or any(unit % 1 for unit in units):
            return False
    return True


def _alike(parts: Sequence[Layer], kind: Kind) -> bool:
    first = parts[0]
    return all(
        part.scale == first.scale
        and part.slots.keys() == first.slots.keys()
        and all(ref.same(first.slots[slot]) for slot, ref in part.slots.items() if slot not in kind.row_slots)
        and all(ref.dtype == first.slots[slot].dtype for slot, ref in part.slots.items())
        for part in parts[1:]
    )


def _rows(parts: Sequence[Layer | None], kind: Kind, target: Target) -> list[int]:
    """Return the rows of every part, reckoning missing ones from the shares of those present."""
    known = {at: part.slots[kind.row_slots[0]].shape[0] for at, part in enumerate(parts) if part is not None}
    at, rows = next(iter(known.items()))
    unit = rows // target.rows[at]
    return [known.get(part, unit * share) for part, share in enumerate(target.rows)]


def flip(ref: TensorRef) -> TensorRef:
    """Swap the two halves of the rows; twice is nothing."""
    half = ref.shape[0] // 2
    return TensorRef.cat([ref.rows(half, ref.shape[0]), ref.rows(0, half)])


def bounds(rows: int, shares: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last row of each part when `rows` are dealt out by `shares`."""
    unit = rows // sum(shares)
    return list(pairwise(accumulate((share * unit for share in shares), initial=0)))
