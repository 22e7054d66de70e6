"""The choices a dialect leaves open, as one file made them; so that a conversion can be undone byte for byte.

A converted file carries the style of the file it came from in the header entry `lorry.origin`. Converting
it back to that dialect takes the same prefixes, schemes, alpha dtype and header again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from lorry.ir.frame import Frame
from lorry.ir.tensor import scalars
from lorry.ops.reading.grammar import Grammar
from lorry.ops.reading.readings import Readings

HASH_KEYS = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
"""Header entries that are hashes of the file's own tensors, and lies in front of any others."""

ORIGIN_KEY = "lorry.origin"
RECIPE_KEY = "lorry.recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one file of a dialect was written.

    naming: prefix and scheme by component, where the file uses only one.
    alpha: dtype of alpha tensors by their value (tools store 2 as an integer beside 0.5 as a float), empty
        where there are none; alpha_shape: their shape.
    metadata: header entries, in order; header: those that are the dialect's own, and sides likewise.
    hashes: header entries that hash the file's own tensors.
    """

    dialect: str
    naming: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    alpha: Mapping[str, str] = field(default_factory=dict)
    alpha_shape: tuple[int, ...] = ()
    metadata: tuple[str, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    sides: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)


def style_of(frame: Frame, grammar: Grammar) -> Style:
    """Read the style off the source a frame holds."""
    readings = Readings(frame.source, grammar)
    naming: dict[str, set[tuple[str, str]]] = {}
    for found in readings.places(grammar).values():
        naming.setdefault(found[0].component, set()).add((found[0].prefix, found[0].scheme))
    told = {key for keys in readings.stems.values() for suffix, key in keys.items() if suffix in grammar.alphas}
    alphas = [ref for key, ref in frame.source.tensors.items() if key in told]
    header = grammar.dialect.header
    own = header.metadata if header else ()
    kept = {name: frame.source.sides[name] for name in (header.sides if header else ()) if name in frame.source.sides}
    return Style(
        dialect=grammar.dialect.name,
        naming={component: found.pop() for component, found in naming.items() if len(found) == 1},
        alpha={repr(each): ref.dtype for each, ref in zip(scalars(alphas), alphas, strict=True) if type(each) is float},
        alpha_shape=alphas[-1].shape if alphas else (),
        metadata=tuple(frame.source.metadata),
        header={key: frame.source.metadata[key] for key in own if key in frame.source.metadata},
        hashes={key: frame.source.metadata[key] for key in HASH_KEYS if key in frame.source.metadata},
        sides={name: data.decode("utf-8", "replace") for name, data in kept.items()},
    )


def to_text(style: Style) -> str:
    """Write a style as the value of the header entry."""
    return json.dumps(asdict(style), separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> Style | None:
    """Read a style back; None for what is no style, since the header may be a stranger's."""
    try:
        fields = json.loads(text)
        naming = {str(name): (str(prefix), str(scheme)) for name, (prefix, scheme) in fields["naming"].items()}
        if not {1}.issuperset(fields["alpha_shape"]):
            return None
        return Style(
            dialect=str(fields["dialect"]),
            naming=naming,
            alpha={str(value): str(dtype) for value, dtype in fields["alpha"].items()},
            alpha_shape=tuple(int(each) for each in fields["alpha_shape"]),
            metadata=tuple(str(each) for each in fields["metadata"]),
            header={str(key): str(value) for key, value in fields["header"].items()},
            sides={str(key): str(value) for key, value in fields["sides"].items()},
            hashes={str(key): str(value) for key, value in fields["hashes"].items() if key in HASH_KEYS},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
