"""Several files of one adapter made into one `Adapter`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lorry.errors import Conflict
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.report import Report
from lorry.ir.token import Token
from lorry.ops.writing.style import HASH_KEYS, ORIGIN_KEY

_OWN = {ORIGIN_KEY, *HASH_KEYS}
"""Header entries that speak of one file, so that those of two files differ."""


def unite(adapters: Sequence[Adapter]) -> Adapter:
    """Join the files of one adapter (a LoRA and its learned tokens): layers by what they change, tokens by text.

    Raises Conflict where two files teach one token, or hold layers of one kind for the same parameter.
    """
    layers: dict[ModulePath, tuple[Layer, ...]] = {}
    tokens: dict[str, Token] = {}
    metadata: dict[str, str] = {}
    ambiguous: dict[tuple[str, str], None] = {}
    for adapter in adapters:
        for path, stack in adapter.layers.items():
            held = layers.get(path, ())
            if shared := {(each.kind, each.param) for each in held} & {(each.kind, each.param) for each in stack}:
                first = next(other for other in adapters if path in other.layers)
                kind, param = min(shared)
                raise Conflict(
                    f"{_files(first)} and {_files(adapter)} are two adapters: both hold {kind} for {path}.{param}; "
                    "lorry merge adds them"
                )
            layers[path] = (*held, *stack)
        if twice := tokens.keys() & adapter.tokens.keys():
            raise Conflict(f"the token {min(twice)!r} is in two of the files; open them one by one")
        tokens |= adapter.tokens
        for key, value in adapter.metadata.items():
            if metadata.setdefault(key, value) != value and key not in _OWN:
                ambiguous[("metadata", f"the files disagree on {key}; the first one's is taken")] = None
        ambiguous |= dict.fromkeys(adapter.report.ambiguous)
    # One file that leaves no doubt about the base settles it for all.
    settled = "" if all("base" in dict(adapter.report.ambiguous) for adapter in adapters) else "base"
    return replace(
        adapters[0],
        layers=layers,
        tokens=tokens,
        metadata=metadata,
        extras={key: ref for adapter in adapters for key, ref in adapter.extras.items()},
        origin=tuple(frame for adapter in adapters for frame in adapter.origin),
        report=Report(
            used=tuple(key for adapter in adapters for key in adapter.report.used),
            unmapped=tuple(each for adapter in adapters for each in adapter.report.unmapped),
            ambiguous=tuple(each for each in ambiguous if each[0] != settled),
        ),
    )


def _files(adapter: Adapter) -> str:
    return "+".join(str(frame.path) for frame in adapter.origin)
