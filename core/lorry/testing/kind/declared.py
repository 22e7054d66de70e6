"""What a kind says of itself, before any number is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lorry.plugin import Kind, Spelling
from lorry.plugin.host import Host
from lorry.plugin.kind import ALPHA
from lorry.testing.laws import expect
from lorry.testing.light import expect_light
from lorry.testing.samples import Form, Random, forms


class Declared(NamedTuple):
    """A kind among the others."""

    kind: Kind
    plugins: Host

    def __str__(self) -> str:
        return f"{self.kind.title}, with {len(self.kind.spellings)} spellings"


def means_something(each: Declared) -> None:
    """A kind has layers, and says what they do to a weight or that the timestep decides it, or it has token layouts."""
    kind = each.kind
    expect(kind.apply or kind.timestep or kind.token_layouts, "it has neither apply, nor timestep, nor token layouts")
    expect(not kind.apply or kind.target, "layers that change a weight have a target: the shape they are for")
    expect(not kind.apply or forms(kind), "it tells of no form (samples) and builds none (build): nothing can be tried")


def slots_are_known(each: Declared) -> None:
    """Every slot in row_slots, whole_slots and output_slots is one that a layer of the kind may have."""
    known = {slot for spelling in each.kind.spellings for slot in (*spelling.slots.values(), *spelling.shared.values())}
    known |= {slot for form in forms(each.kind).values() for slot in _slots(form)}
    for said in ("row_slots", "whole_slots", "output_slots"):
        strange = set(getattr(each.kind, said)) - known
        expect(not strange, f"{said} has {', '.join(sorted(strange))}, which neither a spelling nor a sample has")


def spellings_are_told_apart(each: Declared) -> None:
    """No two spellings of a family that are needed whole by the same suffixes are left for `accepts` to tell apart."""
    others = [(kind, own) for kind in each.plugins.kinds().values() for own in kind.spellings]
    for (one, first), (two, second) in itertools.combinations(others, 2):
        if each.kind not in (one, two) or first.family != second.family or first.accepts is not second.accepts:
            continue
        needed = _needed(first)
        expect(
            needed != _needed(second) or not needed,
            f"{' and '.join(sorted(needed))} in family {first.family} spell {one.name} (its {first.param}) and "
            f"{two.name} (its {second.param}) alike, and nothing tells them apart: give one of them `accepts`",
        )


def is_light(each: Declared) -> None:
    """The module of a kind imports neither torch nor anything heavy at its top: commands that need no numbers wait."""
    expect_light(
        each.kind.apply, each.kind.rank, each.kind.target, *(spelling.read for spelling in each.kind.spellings)
    )


LAWS: tuple[Callable[[Declared], None], ...] = (
    means_something,
    slots_are_known,
    spellings_are_told_apart,
    is_light,
)


def _needed(spelling: Spelling) -> frozenset[str]:
    """Return the suffixes (and whole keys) of the slots that are not optional."""
    named = {**spelling.slots, **spelling.shared}
    return frozenset(key for key, slot in named.items() if slot not in spelling.optional and slot != ALPHA)


def _slots(form: Form) -> Iterator[str]:
    for size in ((12, 8), (12, 8, 3, 3)):
        layer = form(Random(), size)
        yield from layer.slots if layer else ()
