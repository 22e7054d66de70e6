"""Layers in files: what a dialect writes of a kind, it reads back as the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Adapter, ModulePath
from lorry.ops.writing.write import encode
from lorry.plugin import Dialect, Kind
from lorry.plugin.host import Host
from lorry.testing import strategies
from lorry.testing.combinations import groups
from lorry.testing.kind.trial import EXACT, Trial
from lorry.testing.laws import close, expect
from lorry.testing.samples import Form, Random, forms, told
from lorry.testing.tables import base_with, filled


class Place(NamedTuple):
    """A module that a dialect names by itself."""

    dialect: Dialect
    base: str
    path: ModulePath


class Written(NamedTuple):
    """A layer on trial, at a module in a dialect."""

    trial: Trial
    place: Place

    def __str__(self) -> str:
        return f"{self.trial}, at {self.place.path} of {self.place.base}"


class Kept(NamedTuple):
    """A kind among the dialects."""

    kind: Kind
    plugins: Host

    def __str__(self) -> str:
        families = {spelling.family for spelling in self.kind.spellings}
        return f"its spellings are those of {', '.join(sorted(families))}"


def places(kind: Kind, plugins: Host) -> list[Place]:
    """Return one module for each dialect that spells the kind and is written."""
    return [
        found
        for dialect in plugins.dialects().values()
        if any(spelling.family in dialect.spellings for spelling in kind.spellings)
        if (found := _place(dialect, plugins)) is not None
    ]


@st.composite
def examples(draw: st.DrawFn, kind: Kind, form: Form, place: Place, plugins: Host) -> Written:
    """Draw a layer of a form, at that place."""
    size = draw(strategies.shapes().filter(lambda size: form(Random(), size) is not None))
    return Written(Trial(kind, draw(strategies.layers(kind, size, form)), Random().weight(size), plugins), place)


def what_is_written_is_read_back(each: Written) -> None:
    """What a dialect writes of a layer it reads back, every key, as one doing the same; or it says what it lacks."""
    trial, place = each
    adapter = Adapter(base=place.base, layers={place.path: (trial.layer,)})
    base = base_with(place.base, {place.path: tuple(trial.weight.shape)})
    with tempfile.TemporaryDirectory() as folder:
        try:
            saved = lorry.save(adapter, Path(folder, "a"), place.dialect.name, plugins=trial.plugins)
        except NotRepresentable as error:
            expect(error.layers, f"it is refused, but nothing is named: {error}")
            return
        back = lorry.open(saved.path, base=base, plugins=trial.plugins)
        expect(not back.report.unmapped, f"not understood: {dict(back.report.unmapped)}")
        expect(list(back.layers) == [place.path], f"it is read as {', '.join(map(str, back.layers))}")
        (read,) = back.layers[place.path]
        expect(read.kind == trial.layer.kind, f"it is read as {told(read)}")
        if trial.kind.apply:
            close(trial.applied(read), trial.applied(), EXACT, "the weight with what was read")
        else:
            same = all(ref.same(trial.layer.slots[slot]) for slot, ref in read.slots.items())
            expect(same and read.slots.keys() == trial.layer.slots.keys(), f"it is read as {told(read)}")


def some_dialect_holds_it(each: Kept) -> None:
    """A kind that installed dialects spell is held by one of them, in one of its forms at least."""
    refused: NotRepresentable | None = None
    for place in places(each.kind, each.plugins):
        for form in forms(each.kind).values():
            layer = form(Random(), (12, 8)) or form(Random(), (12, 8, 3, 3))
            adapter = Adapter(base=place.base, layers={place.path: (layer,)} if layer else {})
            try:
                encode(adapter, place.dialect, plugins=each.plugins)
            except NotRepresentable as error:
                refused = error
            else:
                return
    expect(refused is None, f"none does: {refused}")


LAWS: tuple[Callable[[Written], None], ...] = (what_is_written_is_read_back,)


@cache
def _place(dialect: Dialect, plugins: Host) -> Place | None:
    """Return a module that stands alone in this dialect and that no probe has anything to say of."""
    for model in plugins.base_models().values():
        for component in model.components:
            told = tuple(probe.module for probe in model.probes if probe.component == component.name)
            for parts in groups(plugins, model, component, dialect):
                if len(parts) == 1 and not parts[0].endswith(told):
                    return Place(dialect, model.id, ModulePath(component.name, filled(parts[0])))
    return None
