"""An adapter as the tensors of one dialect: names, alpha, header. Nothing is written to disk here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lorry.errors import InvalidArgument, NotRepresentable
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef, from_scalar, zeros
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops import views
from lorry.ops.grammar import Grammar, Spelled
from lorry.ops.names import Target
from lorry.ops.stack import flattened, stack
from lorry.ops.style import ORIGIN_KEY, RECIPE_KEY, Style
from lorry.plugin.dialect import Dialect, NamedLayer
from lorry.plugin.kind import ALPHA, Kind


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
        self._foreign = {ORIGIN_KEY, RECIPE_KEY, *headers}
        self._defaults = {key for dialect in dialects for key in dialect.metadata}
        self._style = style or Style(dialect=grammar.dialect.name)
        self._kinds = {kind.name: kind for kind in grammar.kinds}
        self._returning = style is not None
        self.lost: dict[str, str] = {}
        """What the dialect cannot hold, by layer or token, with the reason."""

    def encode(self) -> TensorMap:
        """Return the tensors, header and side files; what cannot be held is left out and told in `lost`."""
        named = list(self._named())
        tensors: dict[str, TensorRef] = {}
        for each, spelled, target in named:
            tensors |= self._slots(each, spelled, target)
        tokens = self._tokens()
        fields = self._header([each for each, _, _ in named])
        return TensorMap(
            tensors={**tensors, **tokens.tensors},
            metadata=self._metadata(fields.metadata),
            values=tokens.values,
            sides=fields.sides,
        )

    def _named(self) -> list[tuple[NamedLayer, Spelled, Target]]:
        """Give every layer its spelling, prefix and name, joining the parts of fused modules."""
        found: list[tuple[NamedLayer, Spelled, Target]] = []
        for (component, kind_name, param, prefix, target), parts in self._grouped().items():
            kind = self._kinds[kind_name]
            spelled = self._spelled(kind, parts, param)
            if isinstance(spelled, str) and kind.factors and kind.build:
                parts = {name: flattened(layer, kind) for name, layer in parts.items()}  # noqa: PLW2901  the same layers in their plain form
                spelled = self._spelled(kind, parts, param)
            at = ModulePath(component, next(name for name in target.parts if name in parts))
            if isinstance(spelled, str):
                self.lost |= {str(ModulePath(component, name)): spelled for name in parts}
                continue
            layer = views.join([parts.get(name) for name in target.parts], kind, target)
            if layer is None:
                why = f"{kind.name} layers of unequal parts cannot be joined into {target.name}"
                self.lost |= {str(ModulePath(component, name)): why for name in parts}
                continue
            if layer.scale == 0 and kind.factors and self._with_alpha(layer):
                layer = _silenced(layer, kind)
            rank = kind.rank(layer.slots) if kind.rank else 1
            found.append((NamedLayer(prefix, target.name, at, layer, rank), spelled, target))
        return found

    def _grouped(self) -> dict[tuple[str, str, str, str, Target], dict[str, Layer]]:
        groups: dict[tuple[str, str, str, str, Target], dict[str, Layer]] = {}
        for path, layers in self._adapter.layers.items():
            prefix, scheme = self._naming(path.component)
            target = self._grammar.covering(path.component, scheme, path.name)
            if target is None:
                self.lost[str(path)] = f"{self._grammar.dialect.title} has no name for it"
                continue
            by_kind: dict[tuple[str, str], list[Layer]] = {}
            for layer in layers:
                by_kind.setdefault((layer.kind, layer.param), []).append(layer)
            for (kind, param), same in by_kind.items():
                layer = same[0] if len(same) == 1 else stack([(each, 1.0) for each in same], self._kinds[kind])
                groups.setdefault((path.component, kind, param, prefix, target), {})[path.name] = layer
        return groups

    def _naming(self, component: str) -> tuple[str, str]:
        """Choose prefix and scheme: the style's, unless a stranger's header says what the dialect does not know."""
        naming = self._grammar.naming(component)
        if naming is None:
            return "", ""
        prefix, scheme = self._style.naming.get(component, ("", ""))
        known = prefix in naming.prefixes and scheme in naming.schemes
        return (prefix, scheme) if known else (naming.prefixes[0], naming.schemes[0])

    def _spelled(self, kind: Kind, parts: Mapping[str, Layer], param: str) -> Spelled | str:
        slots = {slot for layer in parts.values() for slot in layer.slots}
        for each in self._grammar.spelled:
            if each.kind is kind and slots <= set(each.spelling.slots.values()) and param == "weight":
                return each
        return f"it does not spell {kind.title} layers with {', '.join(sorted(slots))} of a {param}"

    def _slots(self, named: NamedLayer, spelled: Spelled, target: Target) -> dict[str, TensorRef]:
        layer = named.layer
        made = {
            self._grammar.key(named.prefix, target, spelled.spelling.suffix(slot)): ref
            for slot, ref in layer.slots.items()
        }
        if ALPHA in spelled.spelling.slots.values() and self._with_alpha(layer):
            key = self._grammar.key(named.prefix, target, spelled.spelling.suffix(ALPHA))
            own = next(iter(layer.slots.values())).dtype
            dtype = self._style.alpha.get(repr(layer.scale * named.rank), own)
            made[key] = _alpha(layer.scale, named.rank, dtype, self._style.alpha_shape)
        return made

    def _with_alpha(self, layer: Layer) -> bool:
        if self._returning:
            return bool(self._style.alpha) or (layer.scale != 1 and not self._style.header and not self._style.sides)
        return self._grammar.dialect.header is None

    def _header(self, named: list[NamedLayer]) -> TensorMap:
        """Return header fields as a map without tensors; the original ones where they still say the truth."""
        header = self._grammar.dialect.header
        if header is None or not named or (self._returning and self._style.alpha):
            return TensorMap(tensors={}, metadata=self._style.header)
        if self._style.header or self._style.sides:
            sides = {name: text.encode() for name, text in self._style.sides.items() if name in header.sides}
            kept = TensorMap(tensors={}, metadata=self._style.header, sides=sides)
            scale = header.read(kept)
            if scale and all(scale(each.prefix, each.module, each.rank) == each.layer.scale for each in named):
                return kept
        if self._returning and all(each.layer.scale == 1 for each in named):
            return TensorMap(tensors={})  # the file had no header, and scale 1 needs none
        try:
            fields = header.write(named)
        except NotRepresentable as error:
            self.lost |= error.layers
            fields = header.write([each for each in named if str(each.path) not in error.layers])
        return TensorMap(tensors={}, metadata=fields.metadata, sides=fields.sides)

    def _metadata(self, header: Mapping[str, str]) -> dict[str, str]:
        """Keep what the source's header said, but for what dialects put there to be read by themselves.

        On the way back to the dialect it came from, entries stand in their first order again, and those
        that the detour added by default are gone.
        """
        kept = {key: value for key, value in self._adapter.metadata.items() if key not in self._foreign} | dict(header)
        if not self._returning:
            return {**self._grammar.dialect.metadata, **kept}
        first = [key for key in self._style.metadata if key in kept]
        return {key: kept[key] for key in [*first, *(key for key in kept if key not in {*first, *self._defaults})]}

    def _tokens(self) -> TensorMap:
        tokens = list(self._adapter.tokens.values())
        if not tokens:
            return TensorMap(tensors={})
        writers = self._writers()
        if not writers:
            self.lost |= {token.text: f"{self._grammar.dialect.title} holds no learned tokens" for token in tokens}
            return TensorMap(tensors={})
        renamed = [
            token._replace(vectors={self._grammar.encoder_name(name): ref for name, ref in token.vectors.items()})
            for token in tokens
        ]
        try:
            return writers[0](renamed)
        except NotRepresentable as error:
            self.lost |= error.layers
            return TensorMap(tensors={})

    def _writers(self) -> list[Callable[[Sequence[Token]], TensorMap]]:
        writers = {
            layout.name: layout.write
            for kind in self._grammar.kinds
            for layout in kind.token_layouts
            if layout.write is not None
        }
        return [writers[name] for name in self._grammar.dialect.tokens if name in writers]


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
