"""Everything that is installed, in the combinations that contracts are tried on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from lorry.ops.grammar import Grammar, compiled
from lorry.plugin import BaseModel, Component, Dialect, Kind
from lorry.plugin.host import host

from .tables import filled, ruled_out, views


class Combination(NamedTuple):
    """A dialect, a component of a base that it names, and a kind of layer that it spells."""

    dialect: Dialect
    model: BaseModel
    component: Component
    kind: Kind

    def __repr__(self) -> str:
        """Say it briefly, for reports of failures."""
        return f"{self.dialect.name}-{self.model.id}-{self.component.name}-{self.kind.name}"

    def groups(self, *others: Dialect) -> Mapping[str, list[tuple[str, ...]]]:
        """Modules that this dialect, and others, can name."""
        return {self.component.name: groups(self.model, self.component, self.dialect, *others)}


def grammar(dialect: Dialect, model: BaseModel) -> Grammar:
    """Return how a dialect names the modules of a base."""
    return compiled(dialect, model, tuple(host().kinds().values()))


def written_scheme(dialect: Dialect, model: BaseModel, component: Component) -> str:
    """Return the scheme a dialect writes a component in, "" where it does not name it."""
    naming = grammar(dialect, model).naming(component.name)
    return naming.schemes[0] if naming else ""


def buildable() -> list[Kind]:
    """Return the kinds whose layers can be made from factors."""
    return [kind for kind in host().kinds().values() if kind.build]


@cache
def combinations() -> tuple[Combination, ...]:
    """Return every dialect with every component it names and every kind it spells."""
    return tuple(_combinations())


def _combinations() -> Iterator[Combination]:
    for dialect in host().dialects().values():
        if dialect.naming == "cloneofsimo":
            continue  # it numbers all layers of a model, so a few by themselves are not for it: see test_cloneofsimo
        for model in host().base_models().values():
            spelled = {each.kind.name for each in grammar(dialect, model).spelled}
            for component in model.components:
                if written_scheme(dialect, model, component):
                    for kind in buildable():
                        if kind.name in spelled:
                            yield Combination(dialect, model, component, kind)


@cache
def groups(model: BaseModel, component: Component, *dialects: Dialect) -> list[tuple[str, ...]]:
    """Return templates of modules that all the dialects can name at any index, fused ones together."""
    spoken = [(grammar(each, model), written_scheme(each, model, component)) for each in dialects]
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
