"""What a tool wants of a version: which files, in which dialect, under which names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorry.errors import Incompatible, LorryWarning
from lorry.ops.headers import sides
from lorry.ops.judging.loader_rules import UNTOLD, facts_of, rule_for
from lorry.ops.reading.read import open_adapter
from lorry.ops.writing.convert import convert
from lorry.ops.writing.write import chosen
from lorry.plugin.host import host
from lorry.plugin.loader import BAKE, LOADS, Loader
from lorry_registry.blobs import Content, measure
from lorry_registry.linking.note import SIDE
from lorry_registry.names import check_path
from lorry_registry.store import LocalStore, Resolved
from lorry_registry.view import adapter_files


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that is to be put there: from a blob, or from a file that was made for it."""

    path: str
    content: Content
    made: Path | None = None
    how: str = ""


def plan(store: LocalStore, resolved: Resolved, tool: Loader, room: Path) -> Iterator[Planned]:
    """Yield the files of one version as the tool wants them."""
    plugins = host()
    manifest = store.manifest(resolved)
    paths = adapter_files(store, resolved)
    adapter = open_adapter(list(paths), plugins=plugins)
    rule = rule_for(tool, facts_of(adapter, plugins))
    name = resolved.reference.name
    place = tool.layers if adapter.layers else tool.tokens
    if not place:
        raise Incompatible(f"{resolved.reference}: {tool.title} has no folder that it finds learned tokens in")
    if rule is UNTOLD:
        text = f"{resolved.reference}: no rule says whether {tool.title} loads this; it is put there as it is"
        warnings.warn(text, LorryWarning, stacklevel=4)
    if rule.verdict == LOADS or rule is UNTOLD:
        files = [file for file in manifest.files if file.role in ("weights", "embedding")]
        for file in files:
            at = tool.tokens if file.role == "embedding" and tool.tokens else place
            yield Planned(
                f"{at}/{_name(name, file.path, file.role, one=len(files) == 1)}", Content(file.sha256, file.size)
            )
        names = [_name(name, file.path, file.role, one=len(files) == 1) for file in files]
    elif rule.mend in ("", BAKE):
        hint = f"; lorry bake BASE {resolved.reference} -o FOLDER adds it to a base" if rule.mend else ""
        raise Incompatible(f"{resolved.reference} is not for {tool.title}: {rule.because}{hint}")
    else:
        room.mkdir()
        container = chosen(rule.mend, plugins, room / f"{name}.safetensors")[1]
        made = room / f"{name}{''.join(container.suffixes[:1])}"
        convert(adapter, made, rule.mend, plugins=plugins)
        names = [made.name]
        yield Planned(f"{place}/{made.name}", measure(made), made, f"converted to {rule.mend}")
    if tool.side and (words := [*manifest.adapter.trigger_words]):
        room.mkdir(exist_ok=True)
        yield from _sides(tool, place, names, words, room)


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
