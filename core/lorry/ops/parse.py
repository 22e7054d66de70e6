"""One source under one dialect and one base table: which keys make which layers and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lorry.errors import InvalidArgument, InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops import views
from lorry.ops.grammar import Grammar, Place, Spelled
from lorry.plugin.kind import ALPHA, Kind

Shapes = Mapping[ModulePath, tuple[int, ...]]
"""Weight shapes of a real base's modules."""

_MATRIX = 2


@dataclass(slots=True)
class Draft:
    """What a source says when read one way: layers and tokens, the keys behind them, and what is left."""

    layers: dict[ModulePath, list[Layer]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    claims: dict[ModulePath | str, list[str]] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[tuple[str, str], None] = field(default_factory=dict)


def parse(source: TensorMap, grammar: Grammar, shapes: Shapes | None = None) -> Draft:
    """Read `source` as the grammar's dialect for its base; `shapes` of a real base settle doubtful names.

    Raises InvalidFile for what is this dialect's but broken: an unreadable header, slots that do not fit
    one another, rows that do not divide, one module under two names.
    """
    return _Parser(source, grammar, shapes).parse()


class _Parser:
    """The state of one reading."""

    def __init__(self, source: TensorMap, grammar: Grammar, shapes: Shapes | None) -> None:
        self._source, self._grammar, self._shapes = source, grammar, shapes
        self._header = grammar.dialect.header
        self._scale = self._header.read(source) if self._header else None
        self._draft = Draft()

    def parse(self) -> Draft:
        modules: dict[str, dict[str, str]] = {}
        for key in self._source.tensors:
            parts = self._grammar.split(key)
            if parts is None:
                self._draft.unmapped[key] = "its ending belongs to no installed kind in this dialect"
            else:
                modules.setdefault(parts[0], {})[parts[1]] = key
        for stem, keys in modules.items():
            place = self._settle(self._grammar.places(stem), keys)
            if place is None:
                reason = f"{self._grammar.base.title} has no module of this name"
                self._draft.unmapped |= dict.fromkeys(keys.values(), reason)
            else:
                self._read_module(place, keys)
        self._read_tokens()
        return self._draft

    def _settle(self, places: Sequence[Place], keys: Mapping[str, str]) -> Place | None:
        """Choose the component of a name without a prefix: by the base's own shapes where they are known."""
        if len(places) > 1 and self._shapes is not None:
            places = [place for place in places if self._fits(place, keys, self._shapes)] or places
        if len(places) > 1:
            names = " or ".join(place.component for place in places)
            self._draft.ambiguous[("component", f"the names fit {names}; read as {places[0].component}")] = None
        return places[0] if places else None

    def _fits(self, place: Place, keys: Mapping[str, str], shapes: Shapes) -> bool:
        known = shapes.get(ModulePath(place.component, place.target.parts[0]))
        if known is None or len(place.target.parts) > 1:
            return known is not None
        for (kind, spelling), suffixes in _cover(keys, self._grammar.spelled):
            slots = {spelling.slots[suffix]: self._source.tensors[keys[suffix]] for suffix in suffixes}
            self._rank(place, kind, slots)
            target = kind.target(slots) if kind.target else ()
            if any(wanted not in (-1, size) for wanted, size in zip(target, known, strict=False)):
                return False
        return True

    def _read_module(self, place: Place, keys: Mapping[str, str]) -> None:
        self._check_new(place, keys)
        left = dict(keys)
        for (kind, spelling), suffixes in _cover(keys, self._grammar.spelled):
            slots = {spelling.slots[suffix]: self._source.tensors[keys[suffix]] for suffix in suffixes}
            parts = views.split(self._layer(place, kind, slots), kind, place.target)
            used = [left.pop(suffix) for suffix in suffixes]
            for name, part in zip(place.target.parts, parts, strict=True):
                path = ModulePath(place.component, name)
                self._draft.layers.setdefault(path, []).append(part)
                self._draft.claims.setdefault(path, []).extend(used)
            self._draft.used |= dict.fromkeys(used)
        for suffix, key in left.items():
            self._draft.unmapped[key] = f"{suffix} stands there without the slots it belongs to"

    def _check_new(self, place: Place, keys: Mapping[str, str]) -> None:
        for name in place.target.parts:
            before = self._draft.claims.get(ModulePath(place.component, name))
            if before:
                raise InvalidFile(
                    f"{place.component}.{name} is there under two names, in {before[0]!r} and in "
                    f"{next(iter(keys.values()))!r}; which one is meant cannot be told"
                )

    def _layer(self, place: Place, kind: Kind, slots: dict[str, TensorRef]) -> Layer:
        """Make a layer, its scale resolved: an alpha tensor first, then the header, else 1."""
        alpha = slots.pop(ALPHA, None)
        rank = self._rank(place, kind, slots)
        if rank is None:
            return Layer(kind=kind.name, slots=slots)
        if alpha is not None:
            # A zero alpha means "alpha = rank" to every tool that writes one (sd-scripts, LyCORIS).
            stored = _number(alpha, f"{place.component}.{place.target.name}: alpha")
            return Layer(kind=kind.name, slots=slots, scale=stored / rank if stored else 1.0)
        told = self._scale(place.prefix, place.module, rank) if self._scale else None
        if told is None and self._header is not None:
            self._draft.ambiguous[("scale", self._header.silence)] = None
        return Layer(kind=kind.name, slots=slots, scale=1.0 if told is None else told)

    @staticmethod
    def _rank(place: Place, kind: Kind, slots: Mapping[str, TensorRef]) -> int | None:
        try:
            return kind.rank(slots) if kind.rank else None
        except InvalidFile as error:
            raise InvalidFile(f"{place.component}.{place.target.name}: {error}") from None

    def _read_tokens(self) -> None:
        """Offer the keys no layer used to the token layouts the dialect speaks."""
        layouts = {layout.name: layout for kind in self._grammar.kinds for layout in kind.token_layouts}
        for name in self._grammar.dialect.tokens:
            rest = {key: ref for key, ref in self._source.tensors.items() if key not in self._draft.used}
            if not rest or name not in layouts:
                continue
            found = layouts[name].read(replace(self._source, tensors=rest))
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
        self._draft.claims[text] = list(keys)
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


def _cover(suffixes: Iterable[str], spelled: Sequence[Spelled]) -> list[tuple[Spelled, list[str]]]:
    """Choose kinds that explain the suffixes of one module: the one that explains most first."""
    left = list(suffixes)
    chosen: list[tuple[Spelled, list[str]]] = []
    while left:
        best: tuple[Spelled, list[str]] | None = None
        for each in spelled:
            slots = each.spelling.slots
            covered = [suffix for suffix in left if suffix in slots]
            required = set(slots.values()) - each.spelling.optional
            if required <= {slots[suffix] for suffix in covered} and len(covered) > len(best[1] if best else ()):
                best = each, covered
        if best is None:
            break
        chosen.append(best)
        left = [suffix for suffix in left if suffix not in best[1]]
    return chosen
