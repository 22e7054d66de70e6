"""The sources of one adapter: every file of tensors opened, shards put together, small files beside them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidFile, NotRecognised
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.companions import shard_of
from lorry.ops.reading.files import read_file
from lorry.plugin.host import Host

_SIDE_SUFFIXES = (".json", ".info", ".md", ".txt", ".png", ".jpg", ".jpeg", ".webp", ".yaml", ".toml")
_LARGEST_SIDE = 1 << 20


class Opened(NamedTuple):
    """One source of an adapter: what was opened, the container that read it, and what it holds."""

    path: Path
    container: str
    source: TensorMap


def sources(paths: Sequence[Path], plugins: Host) -> list[Opened]:
    """Read every file of tensors; the small files beside them (a configuration, a card) go with each.

    Shards of one set are one source. Raises InvalidFile where two of them hold the same key or say otherwise of it.
    """
    weights = [path for path in paths if path.is_dir() or path.suffix.lower() not in _SIDE_SUFFIXES or len(paths) == 1]
    sides = {
        path.name: path.read_bytes()
        for path in paths
        if path not in weights and path.is_file() and path.stat().st_size <= _LARGEST_SIDE
    }
    if not weights:
        raise NotRecognised(f"none of {', '.join(map(str, paths))} holds tensors")
    sets: dict[object, list[Opened]] = {}
    for path in weights:
        found, source = read_file(path, plugins)
        opened = Opened(path, found.name, replace(source, sides={**sides, **source.sides}))
        sets.setdefault(shard_of(path) or path, []).append(opened)
    return [_joined(each) for each in sets.values()]


def _joined(shards: Sequence[Opened]) -> Opened:
    first, *rest = shards
    tensors, metadata = dict(first.source.tensors), dict(first.source.metadata)
    for each in rest:
        if twice := tensors.keys() & each.source.tensors.keys():
            raise InvalidFile(f"{each.path} holds {min(twice)!r}, and so does another shard; fetch all of them again")
        tensors |= each.source.tensors
        for key, value in each.source.metadata.items():
            if metadata.setdefault(key, value) != value:
                raise InvalidFile(f"{each.path} and another shard disagree on {key!r} in their metadata")
    paths = tuple(path for each in shards for path in each.source.paths)
    return (
        first._replace(source=replace(first.source, tensors=tensors, metadata=metadata, paths=paths)) if rest else first
    )
