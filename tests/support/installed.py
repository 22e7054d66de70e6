"""Everything that is installed, in the combinations that contracts are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lorry.ops.grammar import Grammar, compiled
from lorry.ops.names import OWN
from lorry.plugin import BaseModel, Component, Dialect, Kind
from lorry.plugin.host import host


class Combination(NamedTuple):
    """A dialect, a component of a base that it names, and a kind of layer that it spells."""

    dialect: Dialect
    model: BaseModel
    component: Component
    kind: Kind

    def __repr__(self) -> str:
        """Say it briefly, for reports of failures."""
        return f"{self.dialect.name} {self.model.id} {self.component.name} {self.kind.name}"

    @property
    def scheme(self) -> str:
        """The scheme the dialect writes the component in."""
        return written_scheme(self.dialect, self.model, self.component)


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


def combinations() -> Iterator[Combination]:
    """Yield every dialect with every component it names and every kind it spells."""
    for dialect in host().dialects().values():
        for model in host().base_models().values():
            spelled = {each.kind.name for each in grammar(dialect, model).spelled}
            for component in model.components:
                if written_scheme(dialect, model, component):
                    for kind in buildable():
                        if kind.name in spelled:
                            yield Combination(dialect, model, component, kind)


def common_scheme(first: Dialect, second: Dialect, model: BaseModel, component: Component) -> str:
    """Return the scheme whose modules both dialects can name: the one that is not our own, if one writes another."""
    schemes = [written_scheme(each, model, component) for each in (first, second)]
    return "" if "" in schemes else next((scheme for scheme in schemes if scheme != OWN), OWN)
