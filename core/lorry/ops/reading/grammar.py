"""The keys of one dialect for one base: from key to module and suffix, and back."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from lorry.ir.module_path import ModulePath
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.names import MANY, OWN, NameTable, Target, lookup_table, name_table
from lorry.plugin.base_model import BaseModel, Component, Naming
from lorry.plugin.dialect import Dialect
from lorry.plugin.kind import ALPHA, Kind, Spelling, TokenLayout


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A module as a key names it: by prefix and name in the file, and what that stands for.

    Bases that name a component alike share the very places.
    """

    component: str
    prefix: str
    scheme: str
    module: str
    target: Target
    paths: tuple[ModulePath, ...]


class Spelled(NamedTuple):
    """A kind with the spelling a dialect uses for it."""

    kind: Kind
    spelling: Spelling


class Grammar:
    """How `dialect` names the modules of `base`, and the kinds it can spell."""

    def __init__(self, dialect: Dialect, base: BaseModel, kinds: tuple[Kind, ...]) -> None:
        self.dialect, self.base, self.kinds = dialect, base, kinds
        self._tables: dict[tuple[str, str], NameTable | None] = {}

    @cached_property
    def spelled(self) -> tuple[Spelled, ...]:
        """Every kind and spelling the dialect speaks, in its own order of families."""
        return tuple(
            Spelled(kind, spelling)
            for family in self.dialect.spellings
            for kind in self.kinds
            for spelling in kind.spellings
            if spelling.family == family
        )

    @cached_property
    def token_layouts(self) -> tuple[TokenLayout, ...]:
        """Every token layout the dialect speaks, in its own order."""
        known = {layout.name: layout for kind in self.kinds for layout in kind.token_layouts}
        return tuple(known[name] for name in self.dialect.tokens if name in known)

    @property
    def written_tokens(self) -> TokenLayout | None:
        """The first of them that can be written."""
        return next((layout for layout in self.token_layouts if layout.write), None)

    @cached_property
    def suffixes(self) -> frozenset[str]:
        """Every suffix any of them uses."""
        return frozenset(suffix for each in self.spelled for suffix in each.spelling.slots)

    @cached_property
    def alphas(self) -> frozenset[str]:
        """The suffixes of alpha."""
        return frozenset(
            suffix for each in self.spelled for suffix, slot in each.spelling.slots.items() if slot == ALPHA
        )

    @cached_property
    def shared(self) -> frozenset[str]:
        """Every key that all modules have in common."""
        return frozenset(key for each in self.spelled for key in each.spelling.shared)

    def spelled_keys(self, source: TensorMap) -> Mapping[str, str]:
        """Return each key of a source as the dialect's templates spell it, by the key itself."""
        renaming = self.dialect.renaming
        renamed = renaming.read(source) if renaming else {}
        return {key: renamed.get(key, key) for key in source.tensors}

    def split(self, key: str) -> tuple[str, str] | None:
        """Cut a key into the part before a known suffix and that suffix; None where no suffix is known."""
        at = key.find(".")
        while at >= 0:
            if key[at + 1 :] in self.suffixes:
                return key[:at], key[at + 1 :]
            at = key.find(".", at + 1)
        return None

    def places(self, stem: str) -> list[Place]:
        """Return every module the part before the suffix can name; several only where prefixes are missing."""
        found = (
            next((place for each in schemes for place in each.places([stem]).values()), None) for schemes in self.behind
        )
        return [place for place in found if place is not None]

    def stem(self, prefix: str, target: Target) -> str:
        """Spell the part of a key before the suffix."""
        return f"{self._lead(prefix)}{target.name}"

    def naming(self, component: str) -> Naming | None:
        """Return how the dialect names a component, or None where it does not."""
        found = self.base.component(component)
        return _naming(found, self.dialect.naming) if found and _speaks(found, self.dialect.naming) else None

    def covering(self, component: str, scheme: str, module: str, present: Container[str] = ()) -> Target | None:
        """Return what a scheme has for one of our modules: itself, or the fused module it is part of.

        Where several fused modules hold it, the first one whose parts are all `present`, else the first one.
        """
        table = self._table(component, scheme)
        targets = list(table.covering(module)) if table else []
        if len(targets) == 1:
            return targets[0]
        whole = (target for target in targets if all(part in present for part in target.parts))
        return next(whole, targets[0] if targets else None)

    def looks_up(self, path: ModulePath) -> bool:
        """Tell whether the dialect spells this module apart, as one that looks rows up by number."""
        component = self.base.component(path.component) if self.dialect.lookups else None
        return component is not None and lookup_table(component).find(path.name) is not None

    def encoder(self, name: str) -> str | None:
        """Return the component an encoder name (clip_l, t5 …) stands for; "" is the only text encoder there is."""
        encoders = [component for component in self.base.components if component.embedding]
        if not name:
            return encoders[0].name if len(encoders) == 1 else None
        known = ((component.name, component.naming.get("embedding")) for component in encoders)
        return next((component for component, naming in known if naming and name in naming.prefixes), None)

    def encoder_name(self, component: str, *, named: bool = False) -> str:
        """Return the encoder name of a component; "" where it is the only text encoder, unless it must be `named`."""
        encoders = [each for each in self.base.components if each.embedding]
        naming = next((each.naming.get("embedding") for each in encoders if each.name == component), None)
        return naming.prefixes[0] if naming and (named or len(encoders) > 1) else ""

    def _table(self, component: str, scheme: str) -> NameTable | None:
        known = component, scheme
        if known not in self._tables:
            found = self.base.component(component)
            self._tables[known] = name_table(found, scheme, self.dialect.separator) if found else None
        return self._tables[known]

    @cached_property
    def behind(self) -> tuple[tuple[Behind, ...], ...]:
        """What may follow each beginning of a key, the longest first, by the names of each scheme in turn."""
        found = [
            tuple(_behind(self._lead(prefix), prefix, component.name, table) for table in tables)
            for component in self.base.components
            if _speaks(component, self.dialect.naming)
            for naming in [_naming(component, self.dialect.naming)]
            for tables in [[name_table(component, scheme, self.dialect.separator) for scheme in naming.schemes]]
            for prefix in naming.prefixes
        ]
        return tuple(sorted(found, key=lambda schemes: -len(schemes[0].lead)))

    def _lead(self, prefix: str) -> str:
        return self.dialect.lead + (prefix + self.dialect.separator if prefix else "")


class Behind:
    """The modules of one component behind one beginning of keys, by the names of one scheme, each looked up once."""

    def __init__(self, lead: str, prefix: str, component: str, table: NameTable) -> None:
        self.lead = lead
        self._prefix, self._component, self._table = prefix, component, table
        self._known: dict[str, Place | None] = {}

    def places(self, stems: Iterable[str]) -> dict[str, Place]:
        """Return those of the stems that name a module here, and what they name."""
        known, found = self._known, {}
        for stem in stems:
            if stem.startswith(self.lead):
                if stem not in known:
                    if len(known) >= MANY:
                        known.clear()
                    known[stem] = self._find(stem.removeprefix(self.lead))
                place = known[stem]
                if place is not None:
                    found[stem] = place
        return found

    def _find(self, module: str) -> Place | None:
        target = self._table.find(module)
        if target is None:
            return None
        paths = tuple(ModulePath(self._component, part) for part in target.parts)
        return Place(self._component, self._prefix, self._table.scheme, module, target, paths)


@cache
def _behind(lead: str, prefix: str, component: str, table: NameTable) -> Behind:
    return Behind(lead, prefix, component, table)


@cache
def compiled(dialect: Dialect, base: BaseModel, kinds: tuple[Kind, ...]) -> Grammar:
    """Return the grammar of a dialect for a base, compiled once."""
    return Grammar(dialect, base, kinds)


def _speaks(component: Component, family: str) -> bool:
    return not family or family in component.naming


def _naming(component: Component, family: str) -> Naming:
    """Without a family the module name stands alone, in our own scheme or any other the table knows."""
    if not family:
        return component.naming.get("", Naming(prefixes=("",), schemes=(OWN,)))
    return component.naming[family]
