"""An adapter as the tensors of one dialect: names, alpha, header. Nothing is written to disk here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from lorry.errors import InvalidArgument, NotRepresentable
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef, from_scalar, zeros
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.grammar import Grammar, Spelled
from lorry.ops.reading.names import Target
from lorry.ops.writing import views
from lorry.ops.writing.stack import flattened, folded, stack
from lorry.ops.writing.style import HASH_KEYS, ORIGIN_KEY, RECIPE_KEY, Style
from lorry.plugin.dialect import Dialect, Header, HeaderFields, NamedLayer
from lorry.plugin.kind import ALPHA, Kind


class _Group(NamedTuple):
    """Layers that become one in the file: those of one kind on the parts of one module there."""

    component: str
    kind: str
    param: str
    prefix: str
    target: Target


class _Spelt(NamedTuple):
    """A layer as it goes into the file, with its spelling and the module there."""

    named: NamedLayer
    spelled: Spelled
    target: Target

    @property
    def shared(self) -> Mapping[str, str]:
        """Slots that all modules have in common, by key."""
        return self.spelled.spelling.shared


class Encoder:
    """Writes one adapter in one dialect.

    `style` repeats the choices of the file the adapter once came from; `dialects` are all there are, since
    header entries that one of them keeps for itself do not belong in another's file.
    """

    def __init__(
        self, adapter: Adapter, grammar: Grammar, style: Style | None = None, dialects: Iterable[Dialect] = ()
    ) -> None:
        self._adapter, self._grammar = adapter, grammar
        headers = [key for dialect in dialects if dialect.header for key in dialect.header.metadata]
        self._foreign = {ORIGIN_KEY, RECIPE_KEY, *HASH_KEYS, *headers}
        self._defaults = {key for dialect in dialects for key in dialect.metadata}
        self._style = style or Style(dialect=grammar.dialect.name)
        self._kinds = {kind.name: kind for kind in grammar.kinds}
        self._returning = style is not None
        self._facts = grammar.dialect.facts(TensorMap(tensors={}, metadata=adapter.metadata))
        self._known: dict[tuple[str, str, bool], list[tuple[Spelled, set[str]]]] = {}
        self.lost: dict[str, str] = {}
        """What the dialect cannot hold, by layer or token, with the reason."""

    def encode(self) -> TensorMap:
        """Return the tensors, header and side files; what cannot be held is left out and told in `lost`."""
        named = self._named()
        before = set(self.lost)
        fields = self._header([each.named for each in named])
        refused = self.lost.keys() - before
        tensors: dict[str, TensorRef] = {}
        owners: dict[str, str] = {}
        for each in named:
            path = str(each.named.path)
            if path in refused:
                continue
            stem = self._grammar.stem(each.named.prefix, each.target)
            owner = owners.setdefault(stem, each.named.path.component)
            if owner != each.named.path.component:
                self.lost[path] = f"{stem} is the name of a module of {owner} already"
                continue
            made = self._slots(each, stem)
            twice = made.keys() & tensors.keys()
            if twice and not all(key in each.shared and tensors[key].same(made[key]) for key in twice):
                self.lost[path] = f"{min(twice)} is the name of another layer already"
            else:
                tensors |= made
        tokens = self._tokens()
        spelt = TensorMap(
            tensors={**tensors, **tokens.tensors},
            metadata={**self._metadata(fields.metadata), **tokens.metadata},
            values=tokens.values,
            sides=fields.sides,
        )
        return self._renamed(spelt)

    def _renamed(self, spelt: TensorMap) -> TensorMap:
        """Return the tensors under the keys of the file, where those are no templates."""
        renaming = self._grammar.dialect.renaming
        if renaming is None:
            return spelt
        made, lost = renaming.write(spelt)
        known = renaming.read(made)
        if not lost and not spelt.tensors.keys() <= {known.get(key, key) for key in made.tensors}:
            why = "without all its names the file would not tell what stands where"
            lost = dict.fromkeys([*map(str, self._adapter.layers), *self._adapter.tokens], why)
        self.lost |= lost
        return made

    def _named(self) -> list[_Spelt]:
        """Give every layer its spelling, prefix and name, joining the parts of fused modules."""
        found: list[_Spelt] = []
        for group, parts in self._grouped().items():
            made = self._spelt(group, parts)
            if isinstance(made, str):
                self.lost |= {str(ModulePath(group.component, name)): made for name in parts}
            else:
                found.append(made)
        return list(self._beside(found))

    def _spelt(self, group: _Group, parts: Mapping[str, Layer]) -> _Spelt | str:
        """Make one layer of a module's parts as the dialect spells it, or say why that cannot be."""
        kind, target = self._kinds[group.kind], group.target
        lookup = self._grammar.looks_up(ModulePath(group.component, next(iter(parts))))
        spelled = self._spelled(kind, parts, group.param, lookup=lookup)
        if isinstance(spelled, str) and kind.factors and kind.build:
            parts = {name: flattened(layer, kind) for name, layer in parts.items()}
            spelled = self._spelled(kind, parts, group.param, lookup=lookup)
        if isinstance(spelled, str):
            return spelled
        joined = views.join([parts.get(name) for name in target.parts], kind, target)
        if joined is None:
            return f"{kind.name} layers of unequal parts cannot be joined into {target.name}"
        layer = self._tellable(joined, kind, spelled)
        if isinstance(layer, str):
            return layer
        at = ModulePath(group.component, next(name for name in target.parts if name in parts))
        rank = kind.rank(layer.slots) if kind.rank else 1
        return _Spelt(NamedLayer(group.prefix, target.name, at, layer, rank), spelled, target)

    def _tellable(self, layer: Layer, kind: Kind, spelled: Spelled) -> Layer | str:
        """Put a scale that the file cannot tell into the numbers, or say why that cannot be."""
        alpha = ALPHA in spelled.spelling.slots.values()
        if layer.scale == 0 and alpha and self._with_alpha(layer):
            return _silenced(layer, kind) if kind.factors else "a scale of 0 cannot be told"
        if layer.scale == 1 or alpha or self._grammar.dialect.header:
            return layer
        if kind.factors:
            return folded(layer, kind)
        return layer if self._absorbed(layer, spelled) else "no scale can be told"

    def _absorbed(self, layer: Layer, spelled: Spelled) -> bool:
        """Tell whether a spelling puts the scale of a layer into its numbers."""
        written = spelled.spelling.write(layer, self._facts)
        return written is not None and written.scale == 1

    def _beside(self, found: Sequence[_Spelt]) -> Iterator[_Spelt]:
        """Divide what is spelled beside another layer by that one's scale, which is going to multiply it."""
        scales = {(named.prefix, named.module, named.layer.kind): named.layer.scale for named, _, _ in found}
        for each in found:
            named, beside = each.named, each.spelled.spelling.beside
            if not beside:
                yield each
                continue
            scale = next((scales[at] for kind in beside if (at := (*named[:2], kind)) in scales), 0.0)
            if scale:
                layer = replace(named.layer, scale=named.layer.scale / scale)
                yield each._replace(named=named._replace(layer=layer))
            else:
                self.lost[str(named.path)] = f"its {named.layer.param} can only stand beside {' or '.join(beside)}"

    def _grouped(self) -> dict[_Group, dict[str, Layer]]:
        """Gather the layers that become one in the file, by the part they are for."""
        groups: dict[_Group, dict[str, Layer]] = {}
        present: dict[str, set[str]] = {}
        for path in self._adapter.layers:
            present.setdefault(path.component, set()).add(path.name)
        naming = {component: self._naming(component) for component in present}
        for path, layers in self._adapter.layers.items():
            prefix, scheme = naming[path.component]
            target = self._grammar.covering(path.component, scheme, path.name, present[path.component])
            if target is None:
                self.lost[str(path)] = f"{self._grammar.dialect.title} has no name for it"
                continue
            by_kind: dict[tuple[str, str], list[Layer]] = {}
            for layer in layers:
                by_kind.setdefault((layer.kind, layer.param), []).append(layer)
            for (kind, param), same in by_kind.items():
                if len(same) > 1 and not self._kinds[kind].factors:
                    self.lost[str(path)] = f"{len(same)} layers of kind {kind} cannot be put together"
                    continue
                layer = same[0] if len(same) == 1 else stack([(each, 1.0) for each in same], self._kinds[kind])
                groups.setdefault(_Group(path.component, kind, param, prefix, target), {})[path.name] = layer
        return groups

    def _naming(self, component: str) -> tuple[str, str]:
        """Choose prefix and scheme: the style's, unless a stranger's header says what the dialect does not know."""
        naming = self._grammar.naming(component)
        if naming is None:
            return "", ""
        prefix, scheme = self._style.naming.get(component, ("", ""))
        known = prefix in naming.prefixes and scheme in naming.schemes
        return (prefix, scheme) if known else (naming.prefixes[0], naming.schemes[0])

    def _spelled(self, kind: Kind, parts: Mapping[str, Layer], param: str, *, lookup: bool) -> Spelled | str:
        """Choose the first spelling that holds every part, or say that there is none."""
        for each, known in self._spellings(kind, param, lookup=lookup):
            written = [each.spelling.write(layer, self._facts) for layer in parts.values()]
            if all(layer is not None and known.issuperset(layer.slots) for layer in written):
                return each
        slots = {slot for layer in parts.values() for slot in layer.slots}
        whose = "an embedding's " if lookup else "a "
        return f"it does not spell {kind.title} layers with {', '.join(sorted(slots))} of {whose}{param}"

    def _spellings(self, kind: Kind, param: str, *, lookup: bool) -> list[tuple[Spelled, set[str]]]:
        """Return the dialect's spellings of a kind of layer, with the slots that each can hold."""
        known, apart = (kind.name, param, lookup), self._grammar.dialect.lookups
        if known not in self._known:
            self._known[known] = [
                (each, {*each.spelling.slots.values(), *each.spelling.shared.values()})
                for each in self._grammar.spelled
                if each.kind is kind and each.spelling.param == param
                if not apart or (each.spelling.family == apart) is lookup
            ]
        return self._known[known]

    def _slots(self, each: _Spelt, stem: str) -> dict[str, TensorRef]:
        """Return the tensors of one layer by their keys, of which `stem` is the part before the suffix."""
        named, spelling = each.named, each.spelled.spelling
        layer = spelling.write(named.layer, self._facts)
        if layer is None:
            self.lost[str(named.path)] = f"{each.spelled.kind.title} has no such spelling once its parts are joined"
            return {}
        shared = {slot: key for key, slot in spelling.shared.items()}
        made = {shared.get(slot) or f"{stem}.{spelling.suffix(slot)}": ref for slot, ref in layer.slots.items()}
        if ALPHA in spelling.slots.values() and self._with_alpha(layer):
            rank = named.rank or 1  # where there is none, no alpha is taken for anything
            dtype = self._style.alpha.get(repr(layer.scale * rank), next(iter(layer.slots.values())).dtype)
            made[f"{stem}.{spelling.suffix(ALPHA)}"] = _alpha(layer.scale, rank, dtype, self._style.alpha_shape)
        return made

    def _with_alpha(self, layer: Layer) -> bool:
        """Tell whether the scale of this layer is stored as an alpha tensor."""
        if self._returning:
            return bool(self._style.alpha) or (layer.scale != 1 and not self._style.header and not self._style.sides)
        return self._grammar.dialect.header is None

    def _header(self, named: Sequence[NamedLayer]) -> HeaderFields:
        """Return what header and side files tell of the scales; the original ones where they still say the truth."""
        header = self._grammar.dialect.header
        if header is None or not named or (self._returning and self._style.alpha):
            return HeaderFields(self._style.header, {})
        if had := bool(self._style.header or self._style.sides):
            sides = {name: text.encode() for name, text in self._style.sides.items() if name in header.sides}
            scale = header.read(TensorMap(tensors={}, metadata=self._style.header, sides=sides))
            if scale and all(scale(each.prefix, each.module, each.rank) == each.layer.scale for each in named):
                return HeaderFields(self._style.header, sides)
        if self._returning and not had and all(each.layer.scale == 1 for each in named):
            return HeaderFields({}, {})  # the file had no header, and scale 1 needs none
        return self._written(header, named)

    def _written(self, header: Header, named: Sequence[NamedLayer]) -> HeaderFields:
        """Write the header of those layers that it can hold together."""
        while named:
            try:
                return header.write(named)
            except NotRepresentable as error:
                self.lost |= error.layers
                named = [each for each in named if str(each.path) not in error.layers]
        return HeaderFields({}, {})

    def _metadata(self, header: Mapping[str, str]) -> dict[str, str]:
        """Keep what the source's header said, but for what dialects put there to be read by themselves.

        On the way back to the dialect it came from, entries stand in their first order again, and those
        that the detour added by default are gone.
        """
        kept = {key: value for key, value in self._adapter.metadata.items() if key not in self._foreign}
        kept |= {**self._style.hashes, **header}
        if not self._returning:
            return {**self._grammar.dialect.metadata, **kept}
        first = [key for key in self._style.metadata if key in kept]
        return {key: kept[key] for key in [*first, *(key for key in kept if key not in {*first, *self._defaults})]}

    def _tokens(self) -> TensorMap:
        tokens = list(self._adapter.tokens.values())
        if not tokens:
            return TensorMap(tensors={})
        layout = self._grammar.written_tokens
        if layout is None or layout.write is None:
            self.lost |= {token.text: f"{self._grammar.dialect.title} holds no learned tokens" for token in tokens}
            return TensorMap(tensors={})
        name = partial(self._grammar.encoder_name, named=layout.named)
        renamed = [
            token._replace(vectors={name(component): ref for component, ref in token.vectors.items()})
            for token in tokens
        ]
        try:
            return layout.write(renamed)
        except NotRepresentable as error:
            self.lost |= error.layers
            return TensorMap(tensors={})


def _silenced(layer: Layer, kind: Kind) -> Layer:
    """Say "does nothing" in zeros: a zero alpha would be read as alpha = rank, which is full strength."""
    slots = {slot: zeros(ref.dtype, ref.shape) if slot in kind.row_slots else ref for slot, ref in layer.slots.items()}
    return replace(layer, slots=slots, scale=1.0)


def _alpha(scale: float, rank: int, dtype: str, shape: tuple[int, ...]) -> TensorRef:
    """Store scale · rank in the first of `dtype`, F32 and F64 that reads back as exactly that scale."""
    for each in (dtype, "F32"):
        try:
            stored = from_scalar(scale * rank, each, shape)
        except InvalidArgument:  # no fraction fits an integer dtype, and F8 has no encoder
            continue
        if stored.item() / rank == scale:
            return stored
    return from_scalar(scale * rank, "F64", shape)
