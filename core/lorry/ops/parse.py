"""One source under one dialect and one base table: which keys make which layers and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops import views
from lorry.ops.grammar import Grammar, Place, Spelled
from lorry.plugin.kind import ALPHA, Kind, Spelling, fits

Shapes = Mapping[ModulePath, tuple[int, ...]]
"""Weight shapes of a real base's modules."""

_MATRIX = 2


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


class _Reading(NamedTuple):
    """What the keys of one module say: layers by part with the keys behind them, and what is left with the reason."""

    layers: list[tuple[list[str], Sequence[Layer]]]
    left: Mapping[str, str]
    silent: bool


class Readings:
    """What was read of one source under one dialect before: bases that name a module alike share its reading.

    `stems` holds the keys of each module by suffix, by the part before that; None where nothing was read.
    """

    def __init__(self) -> None:
        self.modules: dict[tuple[Place, tuple[str, ...]], _Reading] = {}
        self.stems: dict[str, dict[str, str]] | None = None
        self.unspelled: list[str] = []


def parse(source: TensorMap, grammar: Grammar, shapes: Shapes | None = None, readings: Readings | None = None) -> Draft:
    """Read `source` as the grammar's dialect for its base; `shapes` of a real base settle doubtful names.

    `readings` of the same source and dialect are used and added to. Modules that are this dialect's but broken (slots
    that do not fit one another, rows that do not divide, one module under two names) are told in the draft; raises
    InvalidFile for an unreadable header.
    """
    return _Parser(source, grammar, shapes, readings or Readings()).parse()


class _Parser:
    """The state of one reading."""

    def __init__(self, source: TensorMap, grammar: Grammar, shapes: Shapes | None, readings: Readings) -> None:
        self._source, self._grammar, self._shapes, self._readings = source, grammar, shapes, readings
        self._header = grammar.dialect.header
        self._scale = self._header.read(source) if self._header else None
        self._facts = grammar.dialect.facts(source)
        shared = {key for each in grammar.spelled for key in each.spelling.shared}
        self._shared = {key: ref for key, ref in source.tensors.items() if key in shared}
        self._covers: dict[frozenset[str], list[tuple[Spelled, list[str]]]] = {}
        self._silent = False
        self._draft = Draft()

    def parse(self) -> Draft:
        if self._readings.stems is None:
            self._readings.stems = self._stems()
        reason = "its ending belongs to no installed kind in this dialect"
        self._draft.unmapped |= dict.fromkeys(self._readings.unspelled, reason)
        for stem, keys in self._readings.stems.items():
            try:
                place = self._settle(self._grammar.places(stem), keys)
                if place is None:
                    reason = f"{self._grammar.base.title} has no module of this name"
                    self._draft.unmapped |= dict.fromkeys(keys.values(), reason)
                else:
                    self._read_module(place, keys)
            except InvalidFile as error:
                self._draft.broken |= dict.fromkeys(keys.values(), error)
        for key in self._shared.keys() - self._draft.used.keys():
            self._draft.unmapped[key] = "no module uses it"
        self._read_tokens()
        if self._draft.layers:
            self._draft.ambiguous |= dict.fromkeys(self._grammar.dialect.doubts(self._source))
        return self._draft

    def _stems(self) -> dict[str, dict[str, str]]:
        stems: dict[str, dict[str, str]] = {}
        for key, spelled in self._grammar.spelled_keys(self._source).items():
            if key in self._shared:
                continue
            parts = self._grammar.split(spelled)
            if parts is None:
                self._readings.unspelled.append(key)
            else:
                stems.setdefault(parts[0], {})[parts[1]] = key
        return stems

    def _settle(self, places: Sequence[Place], keys: Mapping[str, str]) -> Place | None:
        """Choose the component of a name without a prefix: by the base's own shapes, or the name of its folder."""
        if len(places) > 1 and self._shapes is not None:
            places = [place for place in places if self._fits(place, keys, self._shapes)] or places
        if len(places) > 1:
            places = [place for place in places if place.component == self._source.folder] or places
        if len(places) > 1:
            names = " or ".join(place.component for place in places)
            self._draft.ambiguous[("component", f"the names fit {names}; read as {places[0].component}")] = None
        return places[0] if places else None

    def _fits(self, place: Place, keys: Mapping[str, str], shapes: Shapes) -> bool:
        known = shapes.get(ModulePath(place.component, place.target.parts[0]))
        if known is None or len(place.target.parts) > 1:
            return known is not None
        for (kind, spelling), suffixes in self._cover(keys):
            layer, _ = self._spelled(place, kind, spelling, suffixes)
            if spelling.param == "weight" and kind.target and not fits(kind.target(layer.slots), known):
                return False
        return True

    def _read_module(self, place: Place, keys: Mapping[str, str]) -> None:
        self._check_new(place, keys)
        known = (place, tuple(keys.values()))
        if known not in self._readings.modules:
            self._readings.modules[known] = self._reading(place, keys)
        reading = self._readings.modules[known]
        for used, parts in reading.layers:
            for name, part in zip(place.target.parts, parts, strict=True):
                path = ModulePath(place.component, name)
                self._draft.layers.setdefault(path, []).append(part)
                self._draft.keys.setdefault(path, []).extend(used)
            self._draft.used |= dict.fromkeys(used)
        self._draft.unmapped |= reading.left
        if reading.silent and self._header is not None:
            self._draft.ambiguous[("scale", self._header.silence)] = None

    def _reading(self, place: Place, keys: Mapping[str, str]) -> _Reading:
        self._silent = False
        left = dict(keys)
        reason = "stands there without the slots it belongs to"
        scales: dict[str, float] = {}
        layers: list[tuple[list[str], Sequence[Layer]]] = []
        for (kind, spelling), suffixes in sorted(self._cover(keys), key=lambda each: bool(each[0].spelling.beside)):
            scale = next((scales[each] for each in spelling.beside if each in scales), None)
            if spelling.beside and scale is None:
                continue
            try:
                layer = self._layer(place, kind, spelling, suffixes)
                layer = layer if scale is None else replace(layer, scale=scale)
                parts = views.split(layer, kind, place.target)
            except Incompatible as error:
                reason = str(error)
                continue
            scales[kind.name] = layer.scale
            for suffix in suffixes:
                del left[suffix]
            layers.append(([*suffixes.values(), *(key for key in spelling.shared if key in self._shared)], parts))
        return _Reading(layers, {key: f"{suffix}: {reason}" for suffix, key in left.items()}, self._silent)

    def _check_new(self, place: Place, keys: Mapping[str, str]) -> None:
        for name in place.target.parts:
            before = self._draft.keys.get(ModulePath(place.component, name))
            if before:
                raise InvalidFile(
                    f"{place.component}.{name} is there under two names, in {before[0]!r} and in "
                    f"{next(iter(keys.values()))!r}; which one is meant cannot be told"
                )

    def _spelled(
        self, place: Place, kind: Kind, spelling: Spelling, keys: Mapping[str, str]
    ) -> tuple[Layer, int | None]:
        """Make a layer in its kind's own form, with no scale yet, and tell its rank; None where its kind has none."""
        slots = self._slots(spelling, keys)
        slots.pop(ALPHA, None)
        try:
            layer = spelling.read(Layer(kind=kind.name, slots=slots, param=spelling.param), self._facts)
            return layer, kind.rank(layer.slots) if kind.rank else None
        except InvalidFile as error:
            raise InvalidFile(f"{place.component}.{place.target.name}: {error}") from None

    def _layer(self, place: Place, kind: Kind, spelling: Spelling, keys: Mapping[str, str]) -> Layer:
        """Make a layer, its scale resolved: an alpha tensor first, then the header, else 1."""
        layer, rank = self._spelled(place, kind, spelling, keys)
        if rank is None:
            return layer
        alpha = next((key for suffix, key in keys.items() if spelling.slots.get(suffix) == ALPHA), None)
        if alpha is not None:
            # A zero alpha means "alpha = rank" to every tool that writes one (sd-scripts, LyCORIS).
            stored = _number(self._source.tensors[alpha], f"{place.component}.{place.target.name}: alpha")
            return replace(layer, scale=layer.scale * stored / rank) if stored and rank else layer
        told = self._scale(place.prefix, place.module, rank) if self._scale else None
        self._silent |= told is None
        return layer if told is None else replace(layer, scale=layer.scale * told)

    def _cover(self, keys: Mapping[str, str]) -> list[tuple[Spelled, dict[str, str]]]:
        """Choose kinds that explain the keys of one module, by suffix: the one that explains most first."""
        left = dict(keys)
        chosen: list[tuple[Spelled, dict[str, str]]] = []
        while left:
            for each, suffixes in self._possible(frozenset(left)):
                covered = {suffix: left[suffix] for suffix in suffixes}
                if each.spelling.accepts(self._slots(each.spelling, covered)):
                    chosen.append((each, covered))
                    left = {suffix: key for suffix, key in left.items() if suffix not in covered}
                    break
            else:
                break
        return chosen

    def _possible(self, suffixes: frozenset[str]) -> list[tuple[Spelled, list[str]]]:
        """Return the spellings that have all they need in these suffixes, the one that explains most first."""
        if suffixes not in self._covers:
            found = []
            for each in self._grammar.spelled:
                spelling = each.spelling
                covered = [suffix for suffix in spelling.slots if suffix in suffixes]
                slots = {spelling.slots[suffix] for suffix in covered}
                slots |= {slot for key, slot in spelling.shared.items() if key in self._shared}
                if covered and {*spelling.slots.values(), *spelling.shared.values()} - spelling.optional <= slots:
                    found.append((each, covered))
            self._covers[suffixes] = sorted(found, key=lambda each: -len(each[1]))
        return self._covers[suffixes]

    def _slots(self, spelling: Spelling, keys: Mapping[str, str]) -> dict[str, TensorRef]:
        own = {spelling.slots[suffix]: self._source.tensors[key] for suffix, key in keys.items()}
        return own | {slot: self._shared[key] for key, slot in spelling.shared.items() if key in self._shared}

    def _read_tokens(self) -> None:
        """Offer the keys no layer used to the token layouts the dialect speaks."""
        for layout in self._grammar.token_layouts:
            rest = {key: ref for key, ref in self._source.tensors.items() if key not in self._draft.used}
            if not rest:
                return
            found = layout.read(replace(self._source, tensors=rest))
            for text, vectors in found.vectors.items():
                self._add_token(text, vectors, found.keys[text])

    def _add_token(self, text: str, vectors: Mapping[str, TensorRef], keys: tuple[str, ...]) -> None:
        named: dict[str, TensorRef] = {}
        reason = f"the token {text!r} is there twice" if text in self._draft.tokens else ""
        for encoder, ref in vectors.items():
            component = self._grammar.encoder(encoder)
            if component is None:
                reason = f"{self._grammar.base.title} has no text encoder {encoder or 'of its own alone'}"
            elif component in named:
                reason = f"the token {text!r} has two sets of vectors for {component}"
            elif len(ref.shape) not in (1, _MATRIX):
                reason = f"vectors of shape {list(ref.shape)} are no rows of an embedding"
            else:
                named[component] = ref if len(ref.shape) == _MATRIX else ref.reshape(1, ref.numel)
        if reason:
            self._draft.unmapped |= {key: reason for key in keys if key not in self._draft.used}
            return
        self._draft.tokens[text] = Token(text=text, vectors=named)
        self._draft.keys[text] = list(keys)
        self._draft.used |= dict.fromkeys(keys)
        for key in keys:
            self._draft.unmapped.pop(key, None)


def _number(ref: TensorRef, what: str) -> float:
    try:
        value = ref.item()
    except InvalidArgument as error:
        raise InvalidFile(f"{what}: {error}") from None
    if not math.isfinite(value):
        raise InvalidFile(f"{what} is {value}; a finite number was expected")
    return value
