"""The laws of base tables: each name means one module, under every scheme, separator and dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from hypothesis import strategies as st

from lorry.errors import NotRepresentable
from lorry.ir import ModulePath
from lorry.ops.reading.identify import candidates, probe_shapes
from lorry.ops.reading.names import OWN, name_table
from lorry.ops.writing.write import encode
from lorry.plugin import BaseModel, Component
from lorry.plugin.base_model import Probe
from lorry.plugin.host import Host
from lorry.testing import strategies
from lorry.testing.beside import beside
from lorry.testing.combinations import Combination, combinations, grammar
from lorry.testing.laws import expect, hold, keep
from lorry.testing.tables import filled, ruled_out, shape, views


def check_base_model(model: BaseModel, *, examples: int = 5) -> None:
    """Hold a base table to every law of its contract; raise LawBroken for the first that is broken.

    Its names are tried at any index and width under each scheme and separator, and in every installed dialect that
    names its components; adapters for it must be recognised as its own.
    """
    plugins, subject = beside("base_models", model.id, model), f"base model {model.id!r}"
    for law in TABLE_LAWS:
        keep(subject, law, Table(model, plugins))
    for component in model.components:
        numbers = st.lists(st.integers(0, 999), min_size=3, max_size=3)
        for scheme in (OWN, *component.schemes):
            for separator in "._":
                names = numbers.map(partial(Names, component, scheme, separator))
                hold(f"{subject}, {component.name}", NAME_LAWS, names, examples)
    for dialect in plugins.dialects().values():
        for each in combinations(plugins, dialect):
            if each.model is model and each.kind.build:
                drawn = strategies.examples(model, each.groups(plugins), each.kind)
                adapters = drawn.map(partial(Adapted, each, plugins))
                hold(f"{subject} in dialect {dialect.name!r}", ADAPTER_LAWS, adapters, 2)


class Table(NamedTuple):
    """A base table among the installed dialects."""

    model: BaseModel
    plugins: Host

    def __str__(self) -> str:
        return ", ".join(f"{each.name} of {len(each.modules)} modules" for each in self.model.components)


class Names(NamedTuple):
    """The names of a component under one scheme, spelled with one separator, with numbers in the indices' place."""

    component: Component
    scheme: str
    separator: str
    numbers: list[int]

    def __str__(self) -> str:
        return f"scheme {self.scheme}, separated by {self.separator!r}, with indices {self.numbers}"

    def __repr__(self) -> str:
        return str(self)


class Adapted(NamedTuple):
    """An adapter for a base, in a dialect."""

    combination: Combination
    plugins: Host
    example: strategies.Example

    def __str__(self) -> str:
        return str(self.example)

    def __repr__(self) -> str:
        return str(self)


def components_are_told_apart(each: Table) -> None:
    """Components have names of their own, and modules are not said twice."""
    names = [component.name for component in each.model.components]
    expect(names, "it has no components")
    expect(len(set(names)) == len(names), f"of the components {', '.join(names)} some are there twice")
    for component in each.model.components:
        twice = {module for module in component.modules if component.modules.count(module) > 1}
        expect(not twice, f"{component.name} has {', '.join(sorted(twice))} twice")


def what_is_spoken_of_is_there(each: Table) -> None:
    """Schemes, the vocabulary, lookups, the depth, variants and what probes name are in the table."""
    known = {component.name: component for component in each.model.components}
    for component in known.values():
        for family, naming in {**component.naming, **component.checkpoints}.items():
            strange = set(naming.schemes) - {OWN, *component.schemes}
            expect(
                not strange, f"{component.name} is named in {', '.join(strange)} for {family!r}, and has no such scheme"
            )
            expect(naming.prefixes, f"{component.name} has no prefix for {family!r}; a bare name has the prefix ''")
        for what, name in {"vocabulary": component.vocabulary, "depth": component.depth}.items():
            expect(not name or _own(component, name), f"the {what} of {component.name} is {name}, which is no module")
        strange = set(component.lookups) - set(component.modules)
        expect(not strange, f"{component.name} looks rows up in {', '.join(sorted(strange))}, which is no module")
        expect(
            not component.embedding or component.vocabulary, f"{component.name} takes tokens, but into what vocabulary?"
        )
    strange = each.model.hub.keys() - {"", *each.model.variants}
    expect(not strange, f"the Hub's repository of {', '.join(sorted(strange))} is told, which is no variant")
    for probe in (*each.model.probes, *(probe for probes in each.model.variants.values() for probe in probes)):
        expect(probe.component in known, f"a probe speaks of {probe.component!r}, which is no component")
        component = known[probe.component]
        there = any(module.endswith(probe.module) for module in component.modules) or _own(component, probe.module)
        expect(there or probe.present is False, f"a probe speaks of {probe.module!r}, and no module's name ends so")


def views_are_of_our_modules(each: Table) -> None:
    """A view says how many rows each of its parts has, and its parts are modules under our own names."""
    for component in each.model.components:
        for view in (view for scheme in component.schemes for view in views(component, scheme)):
            rows = f"{view.name} has {len(view.parts)} parts and rows {view.rows}"
            expect(len(view.rows) == len(view.parts) and all(row > 0 for row in view.rows), rows)
            for part in view.parts:
                expect(_own(component, filled(part)), f"{view.name} has the part {part}, which is no module")


def claims_are_lower_case(each: Table) -> None:
    """Claims are in lower case, as they are looked for."""
    strange = [claim for claim in each.model.claims if claim != claim.lower() or not claim]
    expect(not strange, f"{', '.join(map(repr, strange))}")


def probes_take_its_own_shapes(each: Table) -> None:
    """The base's probes rule out none of its own shapes at any width, and speak for it at the published widths."""
    for width in (1, 4, 5):
        against, _ = probe_shapes(each.model, dict(_shapes(each.model, width)))
        expect(not against, f"at width {width}: {against}")
    published = [probe for probe in each.model.probes if probe.widths and probe.present is not False]
    for probe in published:
        shapes = {path: (2, probe.widths[0], *size[2:]) for path, size in _shapes(each.model, 4) if _meant(probe, path)}
        expect(not shapes or _speaks_for(each.model, probe, shapes), f"{probe} does not know its own width")


def each_dialect_spells_a_module_in_one_way(each: Table) -> None:
    """In a dialect that names its components every module has one spelling, which reads back as that module alone."""
    for dialect in (one for one in each.plugins.dialects().values() if one.spellings):
        spoken, seen = grammar(dialect, each.model, each.plugins), dict[str, str]()
        for component in each.model.components:
            naming = spoken.naming(component.name)
            for name in (filled(module, (index,)) for module in component.modules for index in (0, 1) if naming):
                target = spoken.covering(component.name, naming.schemes[0], name) if naming else None
                if naming is None or target is None:
                    continue
                stem = spoken.stem(naming.prefixes[0], target)
                places = spoken.places(stem)
                own = [place.target.parts for place in places if place.component == component.name]
                expect(own == [target.parts], f"{dialect.name}: {stem!r} is read as {own}, not as {list(target.parts)}")
                if dialect.naming:
                    expect(len(places) == 1, f"{dialect.name}: {stem!r} may be of several components")
                    parts = f"{component.name}.{target.parts}"
                    expect(
                        seen.setdefault(stem, parts) == parts,
                        f"{dialect.name}: {stem!r} spells {seen[stem]} and {parts}",
                    )


TABLE_LAWS: tuple[Callable[[Table], None], ...] = (
    components_are_told_apart,
    what_is_spoken_of_is_there,
    views_are_of_our_modules,
    claims_are_lower_case,
    probes_take_its_own_shapes,
    each_dialect_spells_a_module_in_one_way,
)


def every_name_means_one_view(each: Names) -> None:
    """Every name is found again, whatever its numbers, and means one view: its parts, rows and flip."""
    table = name_table(each.component, each.scheme, each.separator)
    for view in views(each.component, each.scheme):
        found = table.find(filled(view.name, each.numbers).replace(".", each.separator))
        expect(found, f"{view.name} is not found")
        if found:
            wanted = (tuple(filled(part, each.numbers) for part in view.parts), view.rows, view.flip)
            expect((found.parts, found.rows, found.flip) == wanted, f"{view.name} is found as {found.name}")


def every_part_leads_back_to_its_view(each: Names) -> None:
    """From every part of a view the view is found again."""
    table = name_table(each.component, each.scheme, each.separator)
    for view in views(each.component, each.scheme):
        for part in view.parts:
            names = [found.name for found in table.covering(filled(part, each.numbers))]
            wanted = filled(view.name, each.numbers).replace(".", each.separator)
            expect(wanted in names, f"{part} leads to {', '.join(names) or 'nothing'}, not to {view.name}")


NAME_LAWS: tuple[Callable[[Names], None], ...] = (
    every_name_means_one_view,
    every_part_leads_back_to_its_view,
)


def an_adapter_is_recognised(each: Adapted) -> None:
    """An adapter for this base is read in full as one for this base."""
    model, dialect = each.combination.model, each.combination.dialect
    try:
        made, _ = encode(each.example.adapter, dialect, plugins=each.plugins)
    except NotRepresentable:
        return
    found = candidates(made, each.plugins)
    own = [one for one in found if one.base == model.id]
    best = max(own, key=lambda one: one.score)
    expect(best.score == 1, f"{best.dialect}: {best.reason}")


ADAPTER_LAWS: tuple[Callable[[Adapted], None], ...] = (an_adapter_is_recognised,)


def _own(component: Component, name: str) -> object:
    return name_table(component, OWN, ".").find(name)


def _shapes(model: BaseModel, width: int) -> Iterator[tuple[ModulePath, tuple[int, ...]]]:
    for component in model.components:
        for template in component.modules:
            if not ruled_out(model, component.name, template):
                yield ModulePath(component.name, filled(template)), shape(model, component, template, 2, width)


def _meant(probe: Probe, path: ModulePath) -> bool:
    return path.component == probe.component and path.name.endswith(probe.module)


def _speaks_for(model: BaseModel, probe: Probe, shapes: dict[ModulePath, tuple[int, ...]]) -> bool:
    alone = BaseModel(id=model.id, title=model.title, components=model.components, probes=(probe._replace(ratio=None),))
    return probe_shapes(alone, shapes) == ("", 1)
