"""One source under one dialect and one base table: which keys make which layers and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops.reading.grammar import Grammar, Place
from lorry.ops.reading.readings import Draft, Readings
from lorry.plugin.kind import fits

Shapes = Mapping[ModulePath, tuple[int, ...]]
"""Weight shapes of a real base's modules."""

_MATRIX = 2


def parse(source: TensorMap, grammar: Grammar, readings: Readings, shapes: Shapes | None = None) -> Draft:
    """Read `source` as the grammar's dialect for its base; `shapes` of a real base settle doubtful names.

    `readings` are those of the source under this dialect. Modules that are this dialect's but broken (slots that do not
    fit one another, rows that do not divide, one module under two names) are told in the draft.
    """
    return _Parser(source, grammar, readings, shapes).parse()


class _Parser:
    """The state of one reading."""

    def __init__(self, source: TensorMap, grammar: Grammar, readings: Readings, shapes: Shapes | None) -> None:
        self._source, self._grammar, self._readings, self._shapes = source, grammar, readings, shapes
        self._draft = Draft()

    def parse(self) -> Draft:
        stems = self._readings.stems
        named = self._readings.places(self._grammar)
        places = {
            stem: found[0] if len(found) == 1 else self._settle(found, stems[stem])
            for stem in stems
            if (found := named.get(stem))
        }
        doubts, self._draft = self._draft.ambiguous, self._readings.draft(places)
        self._draft.ambiguous |= doubts
        reason = f"{self._grammar.base.title} has no module of this name"
        self._draft.unmapped |= {
            key: reason for stem, keys in stems.items() if stem not in places for key in keys.values()
        }
        for key in self._readings.shared.keys() - self._draft.used.keys():
            self._draft.unmapped[key] = "no module uses it"
        self._read_tokens()
        if self._draft.layers:
            self._draft.ambiguous |= dict.fromkeys(self._grammar.dialect.doubts(self._source))
        return self._draft

    def _settle(self, places: Sequence[Place], keys: Mapping[str, str]) -> Place:
        """Choose the component of a name without a prefix: by the base's own shapes, or the name of its folder."""
        if self._shapes is not None:
            places = [place for place in places if self._fits(place, keys, self._shapes)] or places
        if len(places) > 1:
            places = [place for place in places if place.component == self._source.folder] or places
        if len(places) > 1:
            names = " or ".join(place.component for place in places)
            self._draft.ambiguous[("component", f"the names fit {names}; read as {places[0].component}")] = None
        return places[0]

    def _fits(self, place: Place, keys: Mapping[str, str], shapes: Shapes) -> bool:
        known = shapes.get(place.paths[0])
        if known is None or len(place.paths) > 1:
            return known is not None
        return all(
            spelling.param != "weight" or kind.target is None or fits(kind.target(layer.slots), known)
            for (kind, spelling), layer in self._readings.plain(place, keys)
        )

    def _read_tokens(self) -> None:
        """Offer the keys no layer used to the token layouts the dialect speaks."""
        rest = self._rest()
        for layout in self._grammar.token_layouts:
            if not rest.tensors:
                return
            found = layout.read(rest)
            for text, vectors in found.vectors.items():
                self._add_token(text, vectors, found.keys[text])
            if found.vectors:
                rest = self._rest()

    def _rest(self) -> TensorMap:
        used = self._draft.used
        if not used:
            return self._source
        unused = {key: ref for key, ref in self._source.tensors.items() if key not in used}
        return replace(self._source, tensors=unused)

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
