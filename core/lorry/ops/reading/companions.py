"""Which files beside one make up an adapter with it: by the families of names that dialects declare, and shards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lorry.ops.reading.files import inside
from lorry.plugin.host import Host

_STEM = "{}"
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.safetensors)")


def companions(path: Path, plugins: Host) -> tuple[Path, ...]:
    """Return the other files of an adapter that are there beside one of its files or folders, by their names alone."""
    found = (each for each in (*_relatives(path, plugins), *_other_shards(path)) if each != path)
    return tuple(dict.fromkeys(found))


def together(folder: Path, plugins: Host) -> tuple[Path, ...]:
    """Return the files of a folder that holds one adapter in several files and no other weights, else nothing.

    Raises InvalidFile where one of them is a link out of the folder.
    """
    suffixes = {suffix for each in plugins.containers().values() for suffix in each.suffixes} - {".json"}
    with os.scandir(folder) as entries:
        names = [each.name for each in entries if Path(each).is_dir() or Path(each.name).suffix.lower() in suffixes]
    weights = {path for name in names if not name.startswith(".") and _holds_weights(path := folder / name, plugins)}
    for first in sorted(weights)[:1]:
        if len(weights) > 1 and {first, *_relatives(first, plugins)} == weights:
            return tuple(inside(folder, each) for each in sorted(weights))
    return ()


def shard_of(path: Path) -> tuple[Path, str] | None:
    """Return what all shards of one set have in common, and None for what is no shard."""
    parts = _SHARD.fullmatch(path.name)
    return (path.parent / (parts[1] + parts[3]), parts[2]) if parts else None


def _other_shards(path: Path) -> Iterator[Path]:
    told = shard_of(path)
    if told is not None:
        stem = told[0].name.removesuffix(".safetensors")
        names = (f"{stem}-{at:05}-of-{told[1]}.safetensors" for at in range(1, 1 + min(int(told[1]), 1000)))
        yield from (each for name in names if (each := path.with_name(name)).is_file())


def _relatives(path: Path, plugins: Host) -> Iterator[Path]:
    for family in dict.fromkeys(each for dialect in plugins.dialects().values() for each in dialect.companions):
        own = [(template, stem) for template in family if (stem := _stem(template, path.name)) is not None]
        if not own:
            continue
        template, stem = max(own, key=lambda each: len(each[0]))  # a.text_encoder.pt is no a.text_encoder alone
        for other in family:
            if other == template or _STEM not in other or stem:
                names = [other.replace(_STEM, stem)]
            else:
                names = sorted(each.name for each in path.parent.iterdir() if _stem(other, each.name))
            for name in names:
                found = path.with_name(name)
                if found.is_dir() == path.is_dir() and _holds_weights(found, plugins):
                    yield found


def _stem(template: str, name: str) -> str | None:
    """Return what stands in a name for the gap of a template, "" where it has none; None for another name."""
    before, gap, after = template.partition(_STEM)
    if not gap:
        return "" if name == template else None
    inside = len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after)
    return name[len(before) : len(name) - len(after)] if inside else None


def _holds_weights(path: Path, plugins: Host) -> bool:
    """Tell whether this is a file, or a folder with a dialect's side file in it."""
    sides = {name for each in plugins.dialects().values() if each.header for name in each.header.sides}
    return path.is_file() or any((path / name).is_file() for name in sides)
