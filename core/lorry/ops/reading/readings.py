"""One source under one dialect: keys gathered by module, and every module read once, whatever bases name it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef, scalars
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops.reading.grammar import Behind, Grammar, Place, Spelled
from lorry.ops.writing import views
from lorry.plugin.kind import ALPHA


class Draft:
    """What a source says when read one way: layers and tokens, the keys behind them, and what is left."""

    def __init__(self) -> None:
        self.layers: dict[ModulePath, list[Layer]] = {}
        self.tokens: dict[str, Token] = {}
        self.keys: dict[ModulePath | str, list[str]] = {}
        self.used: dict[str, None] = {}
        self.unmapped: dict[str, str] = {}
        self.ambiguous: dict[tuple[str, str], None] = {}
        self.broken: dict[str, InvalidFile] = {}
        """What is wrong with the modules that are this dialect's but damaged, by key."""

    def add(self, other: Draft) -> None:
        """Take in what another one says, of other keys."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            if theirs:
                mine.update(theirs)


class _Way(NamedTuple):
    """A spelling with the suffixes of a module that it explains, and those left for others.

    Slots are paired with suffixes; `alpha` is the suffix of alpha, "" where it is not there.
    """

    spelled: Spelled
    suffixes: tuple[str, ...]
    left: tuple[str, ...]
    slots: tuple[tuple[str, str], ...]
    alpha: str


class _Covered(NamedTuple):
    """A way to read some keys of a module, with the tensors by slot."""

    way: _Way
    slots: dict[str, TensorRef]


class _Reading(NamedTuple):
    """What the keys of one module say: its layers, the keys behind them, those left with the reason, and doubts."""

    layers: dict[ModulePath, list[Layer]]
    behind: list[str]
    unmapped: dict[str, str]
    ambiguous: dict[tuple[str, str], None]


class Readings:
    """The modules of a source, by what stands before the suffix of their keys, as a dialect spells them.

    Raises InvalidFile for an unreadable header.
    """

    def __init__(self, source: TensorMap, grammar: Grammar) -> None:
        dialect = grammar.dialect
        self._tensors, self._grammar = source.tensors, grammar
        self._scale = dialect.header.read(source) if dialect.header else None
        self._silence = dialect.header.silence if dialect.header else ""
        self._facts = dialect.facts(source)
        self._ways: dict[tuple[str, ...], list[_Way]] = {}
        self._read: dict[Place, _Reading] = {}
        self._alphas: dict[str, float | InvalidArgument] | None = None
        self.shared = {key: source.tensors[key] for key in grammar.shared if key in source.tensors}
        """Tensors that all modules have in common."""
        self._unspelled: list[str] = []
        self._places: dict[Behind, dict[str, Place]] = {}
        self._drafts: list[tuple[dict[str, Place], Draft]] = []
        self.stems: dict[str, dict[str, str]] = {}
        """The keys of each module by suffix."""
        for key, spelled in grammar.spelled_keys(source).items():
            parts = grammar.split(spelled)
            if key in self.shared:
                continue
            if parts is None:
                self._unspelled.append(key)
            else:
                self.stems.setdefault(parts[0], {})[parts[1]] = key

    def places(self, grammar: Grammar) -> dict[str, list[Place]]:
        """Return the modules of a base that each stem can name; bases that name a component alike share the search."""
        found: dict[str, list[Place]] = {}
        for schemes in grammar.behind:
            named: dict[str, Place] = {}
            for each in schemes:
                if each not in self._places:
                    self._places[each] = each.places(self.stems)
                named = self._places[each] | named  # the first scheme that has a name for it wins
            for stem, place in named.items():
                found.setdefault(stem, []).append(place)
        return found

    def draft(self, places: dict[str, Place]) -> Draft:
        """Read the modules that the stems mean, each in its place.

        It is done once for all bases with the same places.
        """
        known = next((draft for before, draft in self._drafts if before == places), None)
        if known is None:
            known = Draft()
            known.unmapped |= dict.fromkeys(self._unspelled, "its ending belongs to no installed kind in this dialect")
            for stem, place in places.items():
                try:
                    self._add(known, place, self.stems[stem])
                except InvalidFile as error:
                    known.broken |= dict.fromkeys(self.stems[stem].values(), error)
            self._drafts.append((places, known))
        made = Draft()
        made.add(known)
        return made

    def plain(self, place: Place, keys: Mapping[str, str]) -> list[tuple[Spelled, Layer]]:
        """Return the layers of a module without their scale."""
        return [(each.way.spelled, self._layer(place, each)[0]) for each in self._cover(keys)]

    def _add(self, draft: Draft, place: Place, keys: Mapping[str, str]) -> None:
        for path in place.paths:
            if path in draft.keys:
                raise InvalidFile(
                    f"{place.component}.{place.target.name} is there under two names, in {draft.keys[path][0]!r} and "
                    f"in {next(iter(keys.values()))!r}; which one is meant cannot be told"
                )
        if place not in self._read:
            self._read[place] = self._reading(place, keys)
        layers, behind, unmapped, ambiguous = self._read[place]
        draft.layers |= layers
        draft.keys |= dict.fromkeys(layers, behind)
        draft.used |= dict.fromkeys(behind)
        draft.unmapped |= unmapped
        draft.ambiguous |= ambiguous

    def _reading(self, place: Place, keys: Mapping[str, str]) -> _Reading:
        layers: dict[ModulePath, list[Layer]] = {}
        behind: list[str] = []
        doubts: dict[tuple[str, str], None] = {}
        reason = "stands there without the slots it belongs to"
        scales: dict[str, float] = {}
        for covered in self._cover(keys):
            kind, spelling = covered.way.spelled
            scale = None
            if spelling.beside:
                scale = next((scales[each] for each in spelling.beside if each in scales), None)
                if scale is None:
                    continue
            try:
                layer, rank = self._layer(place, covered)
                told = self._told(place, covered, keys, rank) if scale is None and rank is not None else 1.0
                scale = layer.scale * (1.0 if told is None else told) if scale is None else scale
                parts = views.split(layer.at(scale), kind, place.target)
            except Incompatible as error:
                reason = str(error)
                continue
            if told is None and self._silence:
                doubts["scale", self._silence] = None
            scales[kind.name] = scale
            behind += [keys[suffix] for suffix in covered.way.suffixes]
            if self.shared:
                behind += [key for key in spelling.shared if key in self.shared]
            for path, part in zip(place.paths, parts, strict=True):
                layers.setdefault(path, []).append(part)
        unmapped = {}
        if len(behind) < len(keys) or self.shared:
            unmapped = {key: f"{suffix}: {reason}" for suffix, key in keys.items() if key not in behind}
        return _Reading(layers, behind, unmapped, doubts)

    def _layer(self, place: Place, covered: _Covered) -> tuple[Layer, int | None]:
        """Make a layer in its kind's own form, with no scale yet, and tell its rank; None where its kind has none."""
        kind, spelling = covered.way.spelled
        slots = {slot: ref for slot, ref in covered.slots.items() if slot != ALPHA}
        try:
            layer = spelling.read(Layer(kind=kind.name, slots=slots, param=spelling.param), self._facts)
            return layer, kind.rank(layer.slots) if kind.rank else None
        except InvalidFile as error:
            raise InvalidFile(f"{place.component}.{place.target.name}: {error}") from None

    def _told(self, place: Place, covered: _Covered, keys: Mapping[str, str], rank: int) -> float | None:
        """Return the scale as it is told: by an alpha tensor first, then by the header; None where by neither."""
        if not covered.way.alpha:
            return self._scale(place.prefix, place.module, rank) if self._scale else None
        if self._alphas is None:
            self._alphas = self._numbers()
        stored = self._alphas[keys[covered.way.alpha]]
        if isinstance(stored, InvalidArgument):
            raise InvalidFile(f"{place.component}.{place.target.name}: alpha: {stored}")
        if not math.isfinite(stored):
            what = f"{place.component}.{place.target.name}: alpha"
            raise InvalidFile(f"{what} is {stored}; a finite number was expected")
        # A zero alpha means "alpha = rank" to every tool that writes one (sd-scripts, LyCORIS).
        return stored / rank if stored and rank else 1.0

    def _numbers(self) -> dict[str, float | InvalidArgument]:
        """Read all alphas at once: opening the file for every single one takes longer than all the rest."""
        suffixes = self._grammar.alphas
        keys = [keys[suffix] for keys in self.stems.values() for suffix in suffixes if suffix in keys]
        return dict(zip(keys, scalars([self._tensors[key] for key in keys]), strict=True))

    def _cover(self, keys: Mapping[str, str]) -> list[_Covered]:
        """Choose kinds that explain the keys of one module, by suffix: the one that explains most first.

        Those that can only stand beside another come after it.
        """
        left = tuple(keys)
        chosen: list[_Covered] = []
        while left:
            for way in self._possible(left):
                spelling = way.spelled.spelling
                slots = {slot: self._tensors[keys[suffix]] for slot, suffix in way.slots}
                if spelling.shared:
                    slots |= {slot: self.shared[key] for key, slot in spelling.shared.items() if key in self.shared}
                if spelling.accepts(slots):
                    chosen.append(_Covered(way, slots))
                    left = way.left
                    break
            else:
                break
        return sorted(chosen, key=lambda each: bool(each.way.spelled.spelling.beside)) if len(chosen) > 1 else chosen

    def _possible(self, suffixes: tuple[str, ...]) -> list[_Way]:
        """Return the spellings that have all they need in these suffixes, the one that explains most first."""
        if suffixes not in self._ways:
            found = []
            for each in self._grammar.spelled:
                spelling = each.spelling
                covered = tuple(suffix for suffix in spelling.slots if suffix in suffixes)
                slots = tuple((spelling.slots[suffix], suffix) for suffix in covered)
                present = {slot for slot, _ in slots}
                present |= {slot for key, slot in spelling.shared.items() if key in self.shared}
                if covered and {*spelling.slots.values(), *spelling.shared.values()} - spelling.optional <= present:
                    alpha = next((suffix for slot, suffix in slots if slot == ALPHA), "")
                    left = tuple(suffix for suffix in suffixes if suffix not in covered)
                    found.append(_Way(each, covered, left, slots, alpha))
            self._ways[suffixes] = sorted(found, key=lambda way: -len(way.suffixes))
        return self._ways[suffixes]
