"""What a host has, in the combinations that plugins are tried in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from lorry.ops.reading.grammar import Grammar, compiled
from lorry.plugin import BaseModel, Component, Dialect, Kind
from lorry.plugin.host import Host
from lorry.testing.samples import forms
from lorry.testing.tables import filled, ruled_out, views


class Combination(NamedTuple):
    """A dialect, a component of a base that it names, and a kind of layer that it spells."""

    dialect: Dialect
    model: BaseModel
    component: Component
    kind: Kind

    def __str__(self) -> str:
        return f"{self.dialect.name}-{self.model.id}-{self.component.name}-{self.kind.name}"

    def groups(self, plugins: Host, *others: Dialect) -> Mapping[str, list[tuple[str, ...]]]:
        """Return the modules that this dialect, and others, can name."""
        return {self.component.name: groups(plugins, self.model, self.component, self.dialect, *others)}


def grammar(dialect: Dialect, model: BaseModel, plugins: Host) -> Grammar:
    """Return how a dialect names the modules of a base."""
    return compiled(dialect, model, tuple(plugins.kinds().values()))


def combinations(plugins: Host, dialect: Dialect) -> Iterator[Combination]:
    """Yield a dialect with what it names and spells.

    Kinds that are built from factors come with every component of every base, the others with the first one.
    """
    spelled = [kind for kind in plugins.kinds().values() if spells(dialect, kind) and kind.apply and forms(kind)]
    first = True
    for model in plugins.base_models().values():
        for component in model.components:
            if groups(plugins, model, component, dialect):
                kinds = spelled if first else [kind for kind in spelled if kind.build]
                yield from (Combination(dialect, model, component, kind) for kind in kinds)
                first = False


@cache
def groups(plugins: Host, model: BaseModel, component: Component, *dialects: Dialect) -> list[tuple[str, ...]]:
    """Return templates of modules that all the dialects can name at any index, fused ones together."""
    spoken = [(found := grammar(each, model, plugins), _written(found, component)) for each in dialects]
    known = dict.fromkeys(view.parts for _, scheme in spoken for view in views(component, scheme))
    return [
        parts
        for parts in known
        if not any(ruled_out(model, component.name, part) for part in parts)
        and all(
            found.covering(component.name, scheme, filled(part, (index,)))
            for found, scheme in spoken
            for part in parts
            for index in (0, 40)
        )
    ]


def _written(found: Grammar, component: Component) -> str:
    """Return the scheme a dialect writes a component in, "" where it does not name it."""
    naming = found.naming(component.name)
    return naming.schemes[0] if naming else ""


def spells(dialect: Dialect, kind: Kind) -> bool:
    """Tell whether a dialect speaks a family that the kind is spelled in."""
    return any(spelling.family in dialect.spellings for spelling in kind.spellings)
