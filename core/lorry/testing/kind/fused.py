"""Layers of fused modules: cut into their parts, joined again, their halves swapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

import torch

from lorry.errors import Incompatible
from lorry.ir import Layer, TensorRef
from lorry.ops.reading.names import Target
from lorry.ops.writing import views
from lorry.testing.kind.trial import ROUNDED, Trial
from lorry.testing.laws import close, expect

_FUSED = (
    Target("qkv", ("q", "k", "v"), (1, 1, 1)),
    Target("kv", ("k", "v"), (1, 1)),
    Target("one_and_twice", ("a", "b"), (1, 2)),
)
_FLIPPED = Target("modulation", ("modulation",), (1,), flip=True)


def parts_do_what_the_whole_does(trial: Trial) -> None:
    """The parts of a fused module's layer do to their rows what the whole does, or it raises Incompatible."""
    for target in _FUSED:
        parts = _split(trial, target)
        if parts is not None:
            chunks = zip(trial.weight.split(_rows(trial, target)), parts, strict=True)
            made = torch.cat([trial.applied(part, rows) for rows, part in chunks])
            close(made, trial.applied(), ROUNDED, f"the weight of {len(parts)} parts, each with its own layer,")


def parts_are_joined_to_the_whole(trial: Trial) -> None:
    """Parts that were cut from one layer are joined to a layer that does the same."""
    for target in _FUSED:
        parts = _split(trial, target)
        if parts is not None:
            whole = views.join(parts, trial.plugins.get("kinds", parts[0].kind), target)
            expect(whole is not None, f"the parts of {target.name} that were just cut cannot be joined")
            close(trial.applied(whole), trial.applied(), ROUNDED, f"the weight with the joined layer of {target.name}")


def swapped_halves_do_the_same_to_swapped_rows(trial: Trial) -> None:
    """With its halves swapped a layer does the same to a weight with swapped halves, or it raises Incompatible."""
    parts = _split(trial, _FLIPPED)
    if parts is not None:
        half = len(trial.weight) // 2
        made = trial.applied(parts[0], trial.weight.roll(half, 0))
        close(made, trial.applied().roll(half, 0), ROUNDED, "the weight with swapped halves")


def unequal_parts_are_joined_and_taken_apart(trial: Trial) -> None:
    """join puts layers of unequal parts, or none, into one that does what each does; unjoin gives them back."""
    kind, layer = trial.kind, trial.layer
    if kind.join is None or kind.apply is None or kind.changes_shape:
        return
    other = replace(layer, scale=layer.scale / 2, slots={name: _reversed(ref) for name, ref in layer.slots.items()})
    for parts in ((layer, other), (None, layer), (layer, None, other)):
        rows = [len(trial.weight)] * len(parts)
        whole = kind.join(parts, rows)
        wanted = [trial.weight if part is None else trial.applied(part) for part in parts]
        weight = torch.cat([trial.weight] * len(parts))
        close(trial.applied(whole, weight), torch.cat(wanted), ROUNDED, f"the weight of {len(parts)} parts joined")
        if kind.unjoin is None:
            continue
        cut = [replace(whole, slots=_cut(trial, whole, at)) for at in pairwise(accumulate(rows, initial=0))]
        for part, before in zip(kind.unjoin(cut) or cut, wanted, strict=True):
            made = trial.weight if part is None else trial.applied(part)
            close(made, before, ROUNDED, "the weight of one part, taken out of the joined layer,")


LAWS: tuple[Callable[[Trial], None], ...] = (
    parts_do_what_the_whole_does,
    parts_are_joined_to_the_whole,
    swapped_halves_do_the_same_to_swapped_rows,
    unequal_parts_are_joined_and_taken_apart,
)


def _split(trial: Trial, target: Target) -> list[Layer] | None:
    """Cut the layer; None where it says that it only makes sense whole."""
    try:
        return views.split(trial.layer, trial.kind, target)
    except Incompatible:
        return None


def _rows(trial: Trial, target: Target) -> list[int]:
    unit = len(trial.weight) // sum(target.rows)
    return [unit * share for share in target.rows]


def _cut(trial: Trial, whole: Layer, rows: tuple[int, int]) -> dict[str, TensorRef]:
    return {slot: ref.rows(*rows) if slot in trial.kind.row_slots else ref for slot, ref in whole.slots.items()}


def _reversed(ref: TensorRef) -> TensorRef:
    """Return other numbers of the same shape and dtype."""
    rows = ref.shape[0] if ref.shape else 0
    return TensorRef.cat([ref.rows(row, row + 1) for row in reversed(range(rows))]) if rows else ref
