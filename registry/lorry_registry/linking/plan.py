"""What a tool wants of a version: which files, in which dialect, under which names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lorry.errors import Incompatible, LorryWarning
from lorry.ir import Adapter
from lorry.ops.headers import sides
from lorry.ops.judging.loader_rules import UNTOLD, facts_of, rule_for
from lorry.ops.reading.read import open_adapter
from lorry.ops.writing.convert import convert
from lorry.ops.writing.write import chosen
from lorry.plugin.host import host
from lorry.plugin.loader import BAKE, LOADS, Loader
from lorry_registry.home.blobs import Content, measure
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.home.view import adapter_files
from lorry_registry.linking.note import SIDE
from lorry_registry.references.names import check_path


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that is to be put there: from a blob, or from a file that was made for it."""

    path: str
    content: Content
    made: Path | None = None
    how: str = ""


def plan(store: LocalStore, resolved: Resolved, tool: Loader, room: Path) -> Iterator[Planned]:
    """Yield the files of one version as the tool wants them: those with layers, and learned tokens in their own place.

    Warns of learned tokens in a file with layers where the tool does not read them there.
    """
    plugins = host()
    manifest, name = store.manifest(resolved), resolved.reference.name
    adapter = open_adapter(list(adapter_files(store, resolved)), plugins=plugins)
    room.mkdir()
    words = manifest.adapter.trigger_words if tool.side else ()
    for role, part in _parts(adapter).items():
        place = tool.tokens if role == "embedding" else tool.layers
        if not place:
            raise Incompatible(f"{resolved.reference}: {tool.title} has no folder that it finds learned tokens in")
        rule = rule_for(tool, facts_of(part, plugins))
        if rule is UNTOLD:
            text = f"{resolved.reference}: no rule says whether {tool.title} loads this; it is put there as it is"
            warnings.warn(text, LorryWarning, stacklevel=4)
        if part.layers and part.tokens and rule.verdict == LOADS and rule.because:
            text = f"{resolved.reference}: {tool.title} loads this, {rule.because}"
            warnings.warn(text, LorryWarning, stacklevel=4)
        if rule.verdict == LOADS or rule is UNTOLD:
            files = [file for file in manifest.files if file.role == role]
            names = [_name(name, file.path, role, one=len(files) == 1) for file in files]
            for file, own in zip(files, names, strict=True):
                yield Planned(f"{place}/{own}", Content(file.sha256, file.size))
        elif rule.mend in ("", BAKE):
            hint = f"; lorry bake BASE {resolved.reference} -o FOLDER adds it to a base" if rule.mend else ""
            raise Incompatible(f"{resolved.reference} is not for {tool.title}: {rule.because}{hint}")
        else:
            container = chosen(rule.mend, plugins, room / f"{name}.safetensors")[1]
            made = room / role / f"{name}{''.join(container.suffixes[:1])}"
            made.parent.mkdir()
            convert(part, made, rule.mend, plugins=plugins)
            names = [made.name]
            yield Planned(f"{place}/{made.name}", measure(made), made, f"converted to {rule.mend}")
        if words:
            yield from _sides(tool, place, names, words, room)
            words = ()


def _parts(adapter: Adapter) -> dict[str, Adapter]:
    """Return what its files with layers make up, and its files of learned tokens alone, each by the role of these."""
    layers = tuple(frame for frame in adapter.origin if frame.layers)
    alone = tuple(frame for frame in adapter.origin if not frame.layers)
    inside = {text for frame in layers for text in frame.tokens}
    beside = {text: token for text, token in adapter.tokens.items() if text not in inside}
    within = {text: token for text, token in adapter.tokens.items() if text in inside}
    parts = {
        "weights": replace(adapter, tokens=within, origin=layers),
        "embedding": replace(adapter, layers={}, tokens=beside, origin=alone),
    }
    return {role: part for role, part in parts.items() if part.layers or part.tokens}


def _sides(tool: Loader, place: str, names: Sequence[str], words: Sequence[str], room: Path) -> Iterator[Planned]:
    """Yield the side files that tell a tool the trigger words."""
    for name in names:
        for path, data in sides.written(room / "side" / name, room / "side" / name, words).items():
            if path.name == f"{Path(name).stem}{tool.side}":
                made = room / f"{path.name}.side"
                made.write_bytes(data)
                yield Planned(f"{place}/{path.name}", measure(made), made, SIDE)


def _name(name: str, path: str, role: str, *, one: bool) -> str:
    """Return a file's name for people: the adapter's, or the file's own where that is a token's text."""
    own = PurePosixPath(path)
    if role == "embedding":
        return check_path(own.name)
    return f"{name}{own.suffix}" if one else check_path(f"{name}-{own.name}")
