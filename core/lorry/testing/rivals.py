"""A dialect beside all the others: nobody takes what is more somebody else's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from lorry.errors import NotRepresentable
from lorry.ir import Adapter, ModulePath, TensorMap
from lorry.ops.reading.identify import candidates
from lorry.ops.writing.write import encode
from lorry.plugin import Dialect
from lorry.plugin.host import Host
from lorry.testing.combinations import Combination, combinations, grammar, spells
from lorry.testing.laws import expect
from lorry.testing.samples import Random, forms
from lorry.testing.tables import filled, shape


class Rivals(NamedTuple):
    """A dialect among all that are installed."""

    dialect: Dialect
    plugins: Host

    def __str__(self) -> str:
        return "small adapters of every installed dialect, base and kind"


def others(dialect: Dialect, plugins: Host) -> list[Dialect]:
    """Return the dialects beside this one that hold layers."""
    return [each for each in plugins.dialects().values() if each is not dialect and each.spellings]


def partners(each: Combination, plugins: Host) -> Sequence[Dialect]:
    """Return the other dialects that may hold what this one holds, so that an adapter can go there and back."""
    return [
        other
        for other in others(each.dialect, plugins)
        if spells(other, each.kind) and grammar(other, each.model, plugins).naming(each.component.name)
    ]


def claims_no_more_than_the_owner(each: Rivals) -> None:
    """It never takes a file of another dialect for more surely its own than that dialect does, nor is it so taken."""
    for owner in (each.dialect, *others(each.dialect, each.plugins)):
        for source in _sources(owner, each.plugins):
            found = candidates(source, each.plugins)
            own = max((one.rank for one in found if one.dialect == owner.name), default=(0.0, 0))
            for one in found:
                if each.dialect.name in (owner.name, one.dialect) and (one.rank > own or own == (0, 0)):
                    raise AssertionError(
                        f"{next(iter(source.tensors))!r} is of dialect {owner.name}, which scores {own[0]:.2f} "
                        f"(evidence {own[1]}), and {one.dialect} scores {one.score:.2f} (evidence {one.evidence})"
                    )


@cache
def _sources(dialect: Dialect, plugins: Host) -> list[TensorMap]:
    return list(_written(dialect, plugins))


def _written(dialect: Dialect, plugins: Host) -> Iterator[TensorMap]:
    """Yield one small adapter for the first component of every base."""
    seen = set()
    for each in combinations(plugins, dialect):
        if each.model in seen or not each.kind.build:
            continue
        seen.add(each.model)
        parts = each.groups(plugins)[each.component.name][0]
        layers = {}
        for part in parts:
            size = shape(each.model, each.component, part, 2, 4)
            layer = next(iter(forms(each.kind).values()))(Random(), size)
            if layer is not None:
                layers[ModulePath(each.component.name, filled(part))] = (layer,)
        try:
            yield encode(Adapter(base=each.model.id, layers=layers), dialect, plugins=plugins)[0]
        except NotRepresentable:
            expect(dialect.renaming, f"{dialect.name} refuses {', '.join(map(str, layers))}")
