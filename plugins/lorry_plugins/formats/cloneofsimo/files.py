"""The two kinds of files: safetensors with a header, and bare lists in a pickle or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from lorry.ir import TensorMap, TensorRef
from lorry_plugins.formats.cloneofsimo import numbers, order

EMBED = "<embed>"
"""What the header says of a key that is a learned token."""

_NUMBERED = re.compile(r"(unet|text_encoder):(0|[1-9]\d{0,4}):(up|down)")
_RANK = re.compile(r"(?:unet|text_encoder)(?::\d+:rank)?")
_CLIP_CLASS = "CLIPAttention"

_LOST = Mapping[str, str]


def refuse(source: TensorMap) -> str | None:
    """Say why this is not the safetensors kind."""
    if EMBED in source.metadata.values() or (
        source.begins("unet:", "text_encoder:") and any(map(_NUMBERED.fullmatch, source.tensors))
    ):
        return None
    return f"no key such as unet:0:up, and the header calls none {EMBED}"


def refuse_list(source: TensorMap) -> str | None:
    """Say why this is not the list kind: an even number of matrices, up before down, and nothing else."""
    refs = list(source.tensors.values())
    if not refs or len(refs) % 2 or any(key != str(at) for at, key in enumerate(source.tensors)):
        return "it is no list of tensors in pairs"
    if any(len(ref.shape) < 2 for ref in refs) or source.values:  # noqa: PLR2004  matrices at least
        return "it holds more than matrices"
    fits = all(up.shape[1] == down.shape[0] for up, down in zip(refs[::2], refs[1::2], strict=True))
    return None if fits else "the ranks of its pairs differ"


def read(source: TensorMap) -> Mapping[str, str]:
    """Name the numbered layers of a safetensors file."""
    keys: dict[str, dict[int, dict[str, str]]] = {}
    for key in source.tensors:
        if parts := _NUMBERED.fullmatch(key):
            keys.setdefault(parts[1], {}).setdefault(int(parts[2]), {})[parts[3]] = key
    spelled: dict[str, str] = {}
    for component, rows in keys.items():
        if set(rows) != set(range(len(rows))) or any(len(slots) != len(("up", "down")) for slots in rows.values()):
            continue
        ordered = [rows[at] for at in range(len(rows))]
        pairs = [(source.tensors[slots["up"]], source.tensors[slots["down"]]) for slots in ordered]
        for name, slots in zip(numbers.names(component, pairs), ordered, strict=False):
            spelled |= {key: f"{name}.{slot}" for slot, key in slots.items()}
    return spelled


def read_list(source: TensorMap) -> Mapping[str, str]:
    """Name the layers of a bare list."""
    refs = list(source.tensors.values())
    pairs = list(zip(refs[::2], refs[1::2], strict=True))
    names = numbers.names(numbers.component(pairs), pairs)
    return {str(at): f"{names[at // 2]}.{'down' if at % 2 else 'up'}" for at in range(2 * len(names))}


def write(spelled: TensorMap) -> tuple[TensorMap, _LOST]:
    """Write layers by number, with a header that says what they are and of which rank."""
    tensors: dict[str, TensorRef] = {}
    header: dict[str, str] = {}
    lost: dict[str, str] = {}
    for prefix, found in numbers.layers(spelled).items():
        component = prefix.removesuffix("-new")
        pairs, missing = numbers.numbered(prefix, found)
        lost |= missing
        for at, (up, down) in enumerate(pairs):
            tensors |= {f"{component}:{at}:up": up, f"{component}:{at}:down": down}
            header[f"{component}:{at}:rank"] = str(down.shape[0])
        if pairs:
            header[component] = _targets(component, found, spelled.metadata.get(component, ""))
    # What was in the header keeps its place there, but for numbers that no longer stand for a layer.
    kept = {key: value for key, value in spelled.metadata.items() if key in header or not _RANK.fullmatch(key)}
    return replace(spelled, tensors={**tensors, **numbers.rest(spelled)}, metadata={**kept, **header}), lost


def write_list(spelled: TensorMap) -> tuple[TensorMap, _LOST]:
    """Put the layers of one model in a list."""
    found = numbers.layers(spelled)
    first, *others = found or {numbers.UNET: {}}
    reason = "a list holds one model; save the text encoder in a second file"
    lost = {f"{prefix}.{name}": reason for prefix in others for name in found[prefix]}
    pairs, missing = numbers.numbered(first, found[first]) if found else ([], {})
    refs = [ref for pair in pairs for ref in pair]
    return replace(spelled, tensors={str(at): ref for at, ref in enumerate(refs)}, metadata={}), {**lost, **missing}


def _targets(component: str, found: Mapping[str, numbers.Pair], before: str) -> str:
    """List the classes that were adapted; the source's own list where it says the same, since it has no order."""
    chosen = numbers.targets(found)._asdict()
    classes = {each for group, names in order.CLASSES.items() if chosen[group] for each in names}
    wanted = classes if component == numbers.UNET else {_CLIP_CLASS}
    try:
        same = set(json.loads(before)) == wanted
    except (ValueError, TypeError, RecursionError):
        same = False
    return before if same else json.dumps(sorted(wanted))
