"""What every installed base table keeps: each name means one module, under every scheme, separator and dialect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorry.ops.names import OWN, name_table
from lorry.plugin import BaseModel, Component, Dialect
from lorry.plugin.host import host
from tests.support.installed import grammar
from tests.support.tables import filled, views

BASES = list(host().base_models().values())
COMPONENTS = {f"{model.id}.{component.name}": component for model in BASES for component in model.components}
SCHEMES = [
    pytest.param(name, scheme, separator, id=f"{name}-{scheme}{separator}")
    for name, component in COMPONENTS.items()
    for scheme in (OWN, *component.schemes)
    for separator in "._"
]
NAMED = [
    pytest.param(dialect, model, id=f"{dialect.name}-{model.id}")
    for dialect in host().dialects().values()
    for model in BASES
    if dialect.spellings
]


@pytest.mark.parametrize(("name", "scheme", "separator"), SCHEMES)
@settings(max_examples=5, deadline=None)
@given(numbers=st.lists(st.integers(0, 999), min_size=3, max_size=3))
def test_every_name_is_found_again_and_means_one_view(
    name: str, scheme: str, separator: str, numbers: list[int]
) -> None:
    component = COMPONENTS[name]
    table = name_table(component, scheme, separator)
    for view in views(component, scheme):
        found = table.find(filled(view.name, numbers).replace(".", separator))
        assert found is not None, view.name
        assert found.parts == tuple(filled(part, numbers) for part in view.parts)
        assert (found.rows, found.flip) == (view.rows, view.flip)


@pytest.mark.parametrize(("name", "scheme", "separator"), SCHEMES)
def test_every_part_leads_back_to_its_view(name: str, scheme: str, separator: str) -> None:
    component = COMPONENTS[name]
    table = name_table(component, scheme, separator)
    for view in views(component, scheme):
        for part in view.parts:
            names = [found.name for found in table.covering(filled(part))]
            assert filled(view.name).replace(".", separator) in names


@pytest.mark.parametrize("model", BASES, ids=lambda model: model.id)
def test_every_scheme_speaks_of_modules_of_our_own(model: BaseModel) -> None:
    for component in model.components:
        own = name_table(component, OWN, ".")
        for scheme in component.schemes:
            for view in views(component, scheme):
                assert len(view.rows) == len(view.parts), view.name
                for part in view.parts:
                    assert own.find(filled(part)) is not None, f"{scheme}: {part}"


@pytest.mark.parametrize(("dialect", "model"), NAMED)
def test_a_dialect_spells_each_module_in_one_way_that_reads_back(dialect: Dialect, model: BaseModel) -> None:
    spoken = grammar(dialect, model)
    seen: dict[str, str] = {}
    for component, name in _modules(model):
        naming = spoken.naming(component.name)
        target = spoken.covering(component.name, naming.schemes[0], name) if naming else None
        if naming is None or target is None:
            continue
        stem = spoken.key(naming.prefixes[0], target, "x").removesuffix(".x")
        places = [place for place in spoken.places(stem) if place.component == component.name]
        assert [place.target.parts for place in places] == [target.parts]
        if dialect.naming:
            assert len(spoken.places(stem)) == 1, f"{stem} may be of several components"
            assert seen.setdefault(stem, str(target.parts)) == str(target.parts)


@pytest.mark.parametrize("model", BASES, ids=lambda model: model.id)
def test_what_a_base_says_of_its_components_is_there(model: BaseModel) -> None:
    names = [component.name for component in model.components]
    assert len(set(names)) == len(names)
    assert {probe.component for probe in model.probes} <= set(names)
    for component in model.components:
        assert len(set(component.modules)) == len(component.modules)
        for naming in component.naming.values():
            assert set(naming.schemes) <= {OWN, *component.schemes}
        if component.embedding:
            assert name_table(component, OWN, ".").find(component.vocabulary) is not None


def _modules(model: BaseModel) -> Iterator[tuple[Component, str]]:
    for component in model.components:
        for template in component.modules:
            yield from ((component, filled(template, (index,))) for index in (0, 1))
