"""One source under one dialect and one base table: which keys make which layers and tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lorry.errors import InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops import views
from lorry.ops.grammar import Grammar, Place, Spelled
from lorry.plugin.dialect import Scale
from lorry.plugin.kind import ALPHA, Kind

Shapes = Mapping[ModulePath, tuple[int, ...]]
"""Weight shapes of a real base's modules."""


@dataclass(slots=True)
class Draft:
    """What a source says when read one way: layers and tokens, the keys behind them, and what is left."""

    layers: dict[ModulePath, list[Layer]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    claims: dict[ModulePath | str, list[str]] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    ambiguous: list[tuple[str, str]] = field(default_factory=list)


def parse(source: TensorMap, grammar: Grammar, shapes: Shapes | None = None) -> Draft:
    """Read `source` as the grammar's dialect for its base; `shapes` of a real base settle doubtful names.

    Raises InvalidFile for what is this dialect's but broken: an unreadable header, slots that do not fit
    one another, rows that do not divide.
    """
    draft = Draft()
    dialect = grammar.dialect
    scale = dialect.header.read(source) if dialect.header else None
    modules: dict[str, dict[str, str]] = {}
    for key in source.tensors:
        parts = grammar.split(key)
        if parts is None:
            draft.unmapped[key] = "its suffix belongs to no installed kind in this dialect"
        else:
            modules.setdefault(parts[0], {})[parts[1]] = key
    unscaled = False
    for stem, keys in modules.items():
        place = _settle(grammar.places(stem), keys, source, grammar, shapes, draft)
        if place is None:
            draft.unmapped |= {key: f"{grammar.base.title} has no module of this name" for key in keys.values()}
            continue
        unscaled |= _read_module(place, keys, source, grammar, scale, draft)
    if unscaled and dialect.header and scale is None:
        draft.ambiguous.append(("scale", dialect.header.silence))
    _read_tokens(source, grammar, draft)
    return draft


def _settle(
    places: Sequence[Place],
    keys: Mapping[str, str],
    source: TensorMap,
    grammar: Grammar,
    shapes: Shapes | None,
    draft: Draft,
) -> Place | None:
    """Choose the component of a name without a prefix: by the base's own shapes where they are known."""
    if len(places) < 2 or shapes is None:  # noqa: PLR2004  one place leaves nothing to settle
        chosen = places[0] if places else None
    else:
        slots = {suffix: source.tensors[key] for suffix, key in keys.items()}
        fitting = [place for place in places if _fits(place, slots, grammar, shapes)]
        chosen = (fitting or list(places))[0]
        places = fitting or places
    if len(places) > 1:
        names = " or ".join(place.component for place in places)
        note = ("component", f"the names fit {names}; read as {places[0].component}")
        if note not in draft.ambiguous:
            draft.ambiguous.append(note)
    return chosen


def _fits(place: Place, slots: Mapping[str, TensorRef], grammar: Grammar, shapes: Shapes) -> bool:
    known = shapes.get(ModulePath(place.component, place.target.parts[0]))
    if known is None:
        return False
    for spelled, _ in _cover(slots, grammar.spelled):
        named = {
            spelled.spelling.slots[suffix]: ref for suffix, ref in slots.items() if suffix in spelled.spelling.slots
        }
        target = spelled.kind.target(named) if spelled.kind.target else ()
        if len(place.target.parts) == 1 and any(a not in (-1, b) for a, b in zip(target, known, strict=False)):
            return False
    return True


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


def _read_module(
    place: Place, keys: Mapping[str, str], source: TensorMap, grammar: Grammar, scale: Scale | None, draft: Draft
) -> bool:
    """Read the layers of one module; return whether nothing in the source told the scale of one of them."""
    unscaled = False
    left = dict(keys)
    for (kind, spelling), suffixes in _cover(keys, grammar.spelled):
        slots = {spelling.slots[suffix]: source.tensors[keys[suffix]] for suffix in suffixes}
        layer, told = _layer(place, kind, slots, scale)
        unscaled |= not told
        parts = views.split(layer, kind, place.target)
        used = [left.pop(suffix) for suffix in suffixes]
        for name, part in zip(place.target.parts, parts, strict=True):
            path = ModulePath(place.component, name)
            draft.layers.setdefault(path, []).append(part)
            draft.claims.setdefault(path, []).extend(used)
        draft.used |= dict.fromkeys(used)
    spelled = {suffix for each in grammar.spelled for suffix in each.spelling.slots}
    for suffix, key in left.items():
        draft.unmapped[key] = (
            f"{suffix} is there without the slots it belongs to" if suffix in spelled else f"no kind has {suffix}"
        )
    return unscaled


def _layer(place: Place, kind: Kind, slots: dict[str, TensorRef], scale: Scale | None) -> tuple[Layer, bool]:
    alpha = slots.pop(ALPHA, None)
    if kind.rank is None:
        return Layer(kind=kind.name, slots=slots), True
    try:
        rank = kind.rank(slots)
    except InvalidFile as error:
        raise InvalidFile(f"{place.component}.{place.target.name}: {error}") from None
    told = scale(place.prefix, place.module, rank) if scale else None
    if alpha is not None:
        # Zero and missing alphas mean "alpha = rank" to every tool that writes them (sd-scripts, LyCORIS).
        stored = alpha.item()
        return Layer(kind=kind.name, slots=slots, scale=stored / rank if stored else 1.0), True
    return Layer(kind=kind.name, slots=slots, scale=1.0 if told is None else told), told is not None


def _read_tokens(source: TensorMap, grammar: Grammar, draft: Draft) -> None:
    """Offer the keys no layer used to the token layouts the dialect speaks."""
    layouts = [
        layout
        for name in grammar.dialect.tokens
        for kind in grammar.kinds
        for layout in kind.token_layouts
        if layout.name == name
    ]
    for layout in layouts:
        rest = {key: ref for key, ref in source.tensors.items() if key not in draft.used}
        if not rest:
            return
        found = layout.read(replace(source, tensors=rest))
        for text, vectors in found.vectors.items():
            named = {_component(encoder, grammar): ref for encoder, ref in vectors.items()}
            if None in named:
                for key in found.keys[text]:
                    draft.unmapped[key] = f"{grammar.base.title} has no text encoder of this name"
                continue
            matrix = {
                part: ref if len(ref.shape) == 2 else ref.reshape(1, ref.numel) for part, ref in named.items() if part
            }  # noqa: PLR2004  one vector or a matrix of them
            draft.tokens[text] = Token(text=text, vectors=matrix)
            draft.claims[text] = list(found.keys[text])
            draft.used |= dict.fromkeys(found.keys[text])
            for key in found.keys[text]:
                draft.unmapped.pop(key, None)


def _component(encoder: str, grammar: Grammar) -> str | None:
    """Return the component an encoder name (clip_l, t5 …) stands for; "" is the only text encoder there is."""
    encoders = [component for component in grammar.base.components if component.embedding]
    if not encoder:
        return encoders[0].name if len(encoders) == 1 else None
    for component in encoders:
        naming = component.naming.get("embedding")
        if naming and encoder in naming.prefixes:
            return component.name
    return None
