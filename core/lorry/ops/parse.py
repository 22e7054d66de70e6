"""One source under one dialect and one base table: which keys make which layers and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef, decode_scalar, read_each
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops import views
from lorry.ops.grammar import Grammar, Place, Spelled
from lorry.plugin.kind import ALPHA, Spelling, fits

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

    def copy(self) -> Draft:
        """Return one that may be added to, with the same layers."""
        made = Draft()
        for name, mine in vars(self).items():
            setattr(made, name, dict(mine))
        return made


class _Reading(NamedTuple):
    """What the keys of one module say: layers by path with the keys behind them, and what is left with the reason."""

    layers: list[tuple[ModulePath, Layer, list[str]]]
    used: list[str]
    left: Mapping[str, str]
    silent: bool


class _Covered(NamedTuple):
    """A kind that explains some keys of a module: those keys by suffix, and their tensors by slot."""

    spelled: Spelled
    keys: Mapping[str, str]
    slots: dict[str, TensorRef]


class Readings:
    """What was read of one source under one dialect before: bases that name a module alike share its reading.

    `stems` holds the keys of each module by suffix, by the part before that; None where nothing was read. `drafts`
    are those of the layers alone, with the places of all stems.
    """

    def __init__(self) -> None:
        self.modules: dict[Place, _Reading] = {}
        self.drafts: list[tuple[list[Place | None], Draft]] = []
        self.stems: dict[str, dict[str, str]] | None = None
        self.unspelled: list[str] = []
        self.alphas: dict[str, bytes] | None = None


def parse(source: TensorMap, grammar: Grammar, shapes: Shapes | None = None, readings: Readings | None = None) -> Draft:
    """Read `source` as the grammar's dialect for its base; `shapes` of a real base settle doubtful names.

    `readings` of the same source, dialect and shapes are used and added to. Modules that are this dialect's but broken
    (slots that do not fit one another, rows that do not divide, one module under two names) are told in the draft;
    raises InvalidFile for an unreadable header.
    """
    return _Parser(source, grammar, shapes, readings or Readings()).parse()


class _Parser:
    """The state of one reading."""

    def __init__(self, source: TensorMap, grammar: Grammar, shapes: Shapes | None, readings: Readings) -> None:
        self._source, self._grammar, self._shapes, self._readings = source, grammar, shapes, readings
        self._header = grammar.dialect.header
        self._scale = self._header.read(source) if self._header else None
        self._facts = grammar.dialect.facts(source)
        self._shared = {key: source.tensors[key] for key in grammar.shared if key in source.tensors}
        self._covers: dict[tuple[str, ...], list[tuple[Spelled, list[str]]]] = {}
        self._silent = False
        self._draft = Draft()

    def parse(self) -> Draft:
        if self._readings.stems is None:
            self._readings.stems = self._stems()
        stems = self._readings.stems
        places = [self._settle(self._grammar.places(stem), keys) for stem, keys in stems.items()]
        self._draft = self._drafted(places)
        reason = f"{self._grammar.base.title} has no module of this name"
        for place, keys in zip(places, stems.values(), strict=True):
            if place is None:
                self._draft.unmapped |= dict.fromkeys(keys.values(), reason)
        for key in self._shared.keys() - self._draft.used.keys():
            self._draft.unmapped[key] = "no module uses it"
        self._read_tokens()
        if self._draft.layers:
            self._draft.ambiguous |= dict.fromkeys(self._grammar.dialect.doubts(self._source))
        return self._draft

    def _drafted(self, places: list[Place | None]) -> Draft:
        """Return a draft of the layers, the same for all bases with the same places; what was told so far stays."""
        ambiguous = self._draft.ambiguous
        known = next((draft for before, draft in self._readings.drafts if before == places), None)
        if known is None:
            known = self._layers(places)
            self._readings.drafts.append((places, known))
        made = known.copy()
        made.ambiguous |= ambiguous
        return made

    def _layers(self, places: list[Place | None]) -> Draft:
        self._draft = Draft()
        reason = "its ending belongs to no installed kind in this dialect"
        self._draft.unmapped |= dict.fromkeys(self._readings.unspelled, reason)
        for place, keys in zip(places, (self._readings.stems or {}).values(), strict=True):
            if place is not None:
                try:
                    self._read_module(place, keys)
                except InvalidFile as error:
                    self._draft.broken |= dict.fromkeys(keys.values(), error)
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
        known = shapes.get(place.paths[0])
        if known is None or len(place.paths) > 1:
            return known is not None
        for covered in self._cover(keys):
            kind, spelling = covered.spelled
            layer, _ = self._spelled(place, covered)
            if spelling.param == "weight" and kind.target and not fits(kind.target(layer.slots), known):
                return False
        return True

    def _read_module(self, place: Place, keys: Mapping[str, str]) -> None:
        draft = self._draft
        if before := next((draft.keys[path] for path in place.paths if path in draft.keys), None):
            raise InvalidFile(
                f"{place.component}.{place.target.name} is there under two names, in {before[0]!r} and in "
                f"{next(iter(keys.values()))!r}; which one is meant cannot be told"
            )
        reading = self._readings.modules.get(place)
        if reading is None:
            reading = self._readings.modules[place] = self._reading(place, keys)
        for path, layer, used in reading.layers:
            draft.layers.setdefault(path, []).append(layer)
            draft.keys.setdefault(path, []).extend(used)
        draft.used.update(dict.fromkeys(reading.used))
        draft.unmapped.update(reading.left)
        if reading.silent and self._header is not None:
            draft.ambiguous[("scale", self._header.silence)] = None

    def _reading(self, place: Place, keys: Mapping[str, str]) -> _Reading:
        self._silent = False
        reason = "stands there without the slots it belongs to"
        scales: dict[str, float] = {}
        layers: list[tuple[ModulePath, Layer, list[str]]] = []
        taken: list[str] = []
        for covered in sorted(self._cover(keys), key=lambda each: bool(each.spelled.spelling.beside)):
            kind, spelling = covered.spelled
            scale = next((scales[each] for each in spelling.beside if each in scales), None)
            if spelling.beside and scale is None:
                continue
            try:
                layer = self._layer(place, covered)
                layer = layer if scale is None else replace(layer, scale=scale)
                parts = views.split(layer, kind, place.target)
            except Incompatible as error:
                reason = str(error)
                continue
            scales[kind.name] = layer.scale
            used = [*covered.keys.values(), *(key for key in spelling.shared if key in self._shared)]
            taken += used
            layers += [(path, part, used) for path, part in zip(place.paths, parts, strict=True)]
        left = {} if len(taken) == len(keys) else {key: suffix for suffix, key in keys.items() if key not in taken}
        return _Reading(layers, taken, {key: f"{suffix}: {reason}" for key, suffix in left.items()}, self._silent)

    def _spelled(self, place: Place, covered: _Covered) -> tuple[Layer, int | None]:
        """Make a layer in its kind's own form, with no scale yet, and tell its rank; None where its kind has none."""
        kind, spelling = covered.spelled
        slots = {slot: ref for slot, ref in covered.slots.items() if slot != ALPHA}
        try:
            layer = spelling.read(Layer(kind=kind.name, slots=slots, param=spelling.param), self._facts)
            return layer, kind.rank(layer.slots) if kind.rank else None
        except InvalidFile as error:
            raise InvalidFile(f"{place.component}.{place.target.name}: {error}") from None

    def _layer(self, place: Place, covered: _Covered) -> Layer:
        """Make a layer, its scale resolved: an alpha tensor first, then the header, else 1."""
        layer, rank = self._spelled(place, covered)
        if rank is None:
            return layer
        if ALPHA in covered.slots:
            # A zero alpha means "alpha = rank" to every tool that writes one (sd-scripts, LyCORIS).
            stored = self._alpha(place, covered)
            return replace(layer, scale=layer.scale * stored / rank) if stored and rank else layer
        told = self._scale(place.prefix, place.module, rank) if self._scale else None
        self._silent |= told is None
        return layer if told is None else replace(layer, scale=layer.scale * told)

    def _alpha(self, place: Place, covered: _Covered) -> float:
        what = f"{place.component}.{place.target.name}: alpha"
        if self._readings.alphas is None:
            self._readings.alphas = self._all_alphas()
        suffix = next(each for each in covered.keys if covered.spelled.spelling.slots[each] == ALPHA)
        stored, ref = self._readings.alphas.get(covered.keys[suffix]), covered.slots[ALPHA]
        try:
            value = ref.item() if stored is None else decode_scalar(ref.dtype, stored)
        except InvalidArgument as error:
            raise InvalidFile(f"{what}: {error}") from None
        if not math.isfinite(value):
            raise InvalidFile(f"{what} is {value}; a finite number was expected")
        return value

    def _all_alphas(self) -> dict[str, bytes]:
        """Read every number there is under a suffix of alpha, in one go: opening the file for each takes longer."""
        keys = [
            key
            for keys in (self._readings.stems or {}).values()
            for suffix in self._grammar.alphas & keys.keys()
            if self._source.tensors[key := keys[suffix]].numel == 1
        ]
        return dict(zip(keys, read_each(self._source.tensors[key] for key in keys), strict=True))

    def _cover(self, keys: Mapping[str, str]) -> list[_Covered]:
        """Choose kinds that explain the keys of one module, by suffix: the one that explains most first."""
        left = keys
        chosen: list[_Covered] = []
        while left:
            for each, suffixes in self._possible(tuple(left)):
                slots = self._slots(each.spelling, suffixes, left)
                if each.spelling.accepts(slots):
                    chosen.append(_Covered(each, {suffix: left[suffix] for suffix in suffixes}, slots))
                    left = {suffix: key for suffix, key in left.items() if suffix not in suffixes}
                    break
            else:
                break
        return chosen

    def _possible(self, suffixes: tuple[str, ...]) -> list[tuple[Spelled, list[str]]]:
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

    def _slots(self, spelling: Spelling, suffixes: Sequence[str], keys: Mapping[str, str]) -> dict[str, TensorRef]:
        slots = {spelling.slots[suffix]: self._source.tensors[keys[suffix]] for suffix in suffixes}
        return slots | {slot: self._shared[key] for key, slot in spelling.shared.items() if key in self._shared}

    def _read_tokens(self) -> None:
        """Offer the keys no layer used to the token layouts the dialect speaks."""
        for layout in self._grammar.token_layouts:
            if len(self._draft.used) == len(self._source.tensors):
                return
            rest = {key: ref for key, ref in self._source.tensors.items() if key not in self._draft.used}
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
