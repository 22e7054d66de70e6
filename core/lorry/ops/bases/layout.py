"""How a kind of checkpoint names the tensors of a base: from key to our names, and back.

A layout is what base tables declare under one name in `checkpoints`: "ldm", "bfl", "comfy" … The layout "diffusers"
is a folder a component and is there for every base: its keys begin with the component's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lorry.errors import UnknownName
from lorry.ops.bases.stored import Stored
from lorry.ops.reading.names import OWN, NameTable, Target, name_table
from lorry.plugin.base_model import BaseModel, Component, Naming

FOLDER = "diffusers"
"""The layout of folders; its keys are "component.key in the component's file"."""


class Place(NamedTuple):
    """Where a layout keeps one of our tensors: the key, and everything that is under that key."""

    key: str
    stored: Stored


class _Row(NamedTuple):
    """One prefix of one component: what its keys begin with, and the names that may follow."""

    lead: str
    component: Component
    tables: tuple[NameTable, ...]


class Layout:
    """The names of one base in one layout; raises UnknownName for a layout this base does not come in."""

    def __init__(self, model: BaseModel, name: str) -> None:
        if name not in layouts(model):
            raise UnknownName(f"layout of {model.title}", name, layouts(model))
        self.model, self.name = model, name
        rows = [
            _Row(f"{prefix}." if prefix else "", component, _tables(component, naming))
            for component in model.components
            if (naming := _naming(component, name)) is not None
            for prefix in naming.prefixes
        ]
        self._written = {row.component.name: row for row in reversed(rows)}
        self._rows = sorted(rows, key=lambda row: -len(row.lead))

    @property
    def components(self) -> tuple[str, ...]:
        """Components it has a place for."""
        return tuple(reversed(self._written))

    def find(self, key: str) -> Stored | None:
        """Return what a key holds by the tables, or None where they have no such name."""
        for lead, component, tables in self._rows:
            if key.startswith(lead):
                rest = key[len(lead) :]
                module, _, param = rest.rpartition(".")
                for table in tables:
                    if (target := table.find(module, param)) is not None:
                        return _stored(component.name, target, target.own_param(param))
                    if table.bare and (target := table.find(rest, "")) is not None:
                        return _stored(component.name, target, target.own_param(""))
        return None

    def keep(self, key: str) -> Stored | None:
        """Return what a key without a name in the tables holds: itself, where names are our own or a folder says whose.

        None where the layout's names are foreign ones.
        """
        for lead, component, tables in self._rows:
            if key.startswith(lead) and any(table.scheme == OWN for table in tables):
                module, _, param = key[len(lead) :].rpartition(".")
                return _stored(component.name, Target(module, (module,)), param)
        return Stored((key,), Target(key, (key,))) if self.name == FOLDER else None

    def place(self, name: str) -> Place | None:
        """Return where one of our tensors is kept, or None where the layout has no place for it."""
        component, _, rest = name.partition(".")
        row = self._written.get(component)
        if row is None:
            return None
        module, _, param = rest.rpartition(".")
        table = row.tables[0]
        target = next(table.covering(module, param), None)
        if target is None and table.scheme == OWN:
            target = Target(module, (module,))
        if target is None:
            return None
        key = ".".join(word for word in (target.name, target.their_param(param)) if word)
        return Place(row.lead + key, _stored(component, target, param))

    def out_of_depth(self, modules: Collection[str]) -> Mapping[str, str]:
        """Return why foreign names do not hold for a component, by its name, given all modules of a base."""
        present = {module.partition(".")[0] for module in modules}
        return {
            name: f"{name} has no {row.component.depth}, and the names of {self.name} count that many blocks"
            for name, row in self._written.items()
            if name in present and row.component.depth and row.tables[0].scheme != OWN
            if f"{name}.{row.component.depth}" not in modules
        }


def layouts(model: BaseModel) -> tuple[str, ...]:
    """Return the layouts a base comes in, folders first."""
    return (FOLDER, *sorted({name for component in model.components for name in component.checkpoints} - {FOLDER}))


def _naming(component: Component, layout: str) -> Naming | None:
    own = Naming(prefixes=(component.name,), schemes=(OWN,)) if layout == FOLDER else None
    return component.checkpoints.get(layout, own)


def _tables(component: Component, naming: Naming) -> tuple[NameTable, ...]:
    return tuple(name_table(component, scheme, ".") for scheme in naming.schemes)


def _stored(component: str, target: Target, param: str) -> Stored:
    names = (".".join(word for word in (component, part, param) if word) for part in target.parts)
    return Stored(tuple(names), target)
