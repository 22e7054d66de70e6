"""What a bake changed, as it was: every byte of the base's files that the baked ones do not hold any more.

It is kept in one file beside the result, NAME.originals, a safetensors file: for each file of the base that is
another now, the bytes that are gone (uint8, under the file's name in the base), and in the header where the others
are found in the result, as [first byte, byte after the last, key]. So a file of any container is put together again,
header and all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import InvalidArgument, InvalidFile
from lorry.ir.file_sink import write_file
from lorry.ir.file_source import FileSource
from lorry.ir.tensor import Segment, TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.bases.base import Base
from lorry.ops.bases.files import read_weights
from lorry.ops.bases.output import indexes_of, rest_of
from lorry.ops.reading.files import read_file
from lorry.plugin.host import Host

_KEY = "lorry.originals"


class ChangedFile(NamedTuple):
    """A file of weights that is another now: where it is, and which of its keys have other bytes."""

    place: Path
    keys: Collection[str]


def originals_of(baked: Path) -> Path:
    """Return where the originals of a baked file or folder are kept."""
    return baked.with_name(f"{baked.name}.originals")


def keep_originals(base: Base, draft: Path, files: Mapping[Path, ChangedFile], target: Path, plugins: Host) -> None:
    """Write the originals of what is in `draft` at `target`; both have no other name yet."""
    kept: dict[str, TensorRef] = {}
    found: dict[str, dict[str, Any]] = {}
    for file, (place, changed) in files.items():
        name, source = _name(file, base.path), FileSource.open(file)
        pieces = list(_pieces(source, read_weights(file, plugins), changed))
        kept[name] = _rest(source, pieces)
        found[name] = {"in": _name(place, draft), "pieces": pieces}
    beside = [*indexes_of(base.files), *rest_of(base.path)] if base.path.is_dir() else []
    for file in beside:
        name = _name(file, base.path)
        if not (draft / name).is_file() or (draft / name).read_bytes() != file.read_bytes():
            kept[name] = _rest(FileSource.open(file), [])
            found[name] = {"in": "", "pieces": []}
    metadata = {_KEY: json.dumps(found, separators=(",", ":"))}
    plugins.get("containers", "safetensors").write(TensorMap(tensors=kept, metadata=metadata), target)


class Originals:
    """The originals kept beside a baked file or folder; empty where there are none."""

    def __init__(self, baked: Path, plugins: Host) -> None:
        self._baked, self._plugins = baked, plugins
        self._path = originals_of(baked)
        self._kept: Mapping[str, TensorRef] = {}
        self._found = ""
        if self._path.is_file():
            source = read_file(self._path, plugins)[1]
            self._kept = source.tensors
            self._found = source.metadata.get(_KEY, "")

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def restore(self, name: str, place: Path) -> None:
        """Write a file of the base at `place` as it was; raise InvalidFile where the two do not belong together."""
        try:
            segments = tuple(self._segments(name))
        except (InvalidArgument, KeyError, TypeError, ValueError) as error:
            raise InvalidFile(f"{self._path} does not belong to {self._baked}: {error}; give the base") from error
        size = sum(stop - start for _, start, stop in segments)
        write_file(place, b"", [TensorRef("U8", (size,), segments)])

    def _segments(self, name: str) -> Iterator[Segment]:
        rest, found = self._kept[name], json.loads(self._found)[name]
        pieces = found["pieces"]
        tensors = read_weights(self._baked / found["in"], self._plugins).tensors if pieces else {}
        at = used = 0
        for start, stop, key in pieces:
            yield from rest.rows(used, used + start - at).segments
            used += start - at
            if tensors[key].nbytes != stop - start:
                raise ValueError(f"{key} is of another size")
            yield from tensors[key].segments
            at = stop
        yield from rest.rows(used, rest.numel).segments


def _name(file: Path, folder: Path) -> str:
    """Name a file as seen from the base's folder; a base that is one file is named ""."""
    return "" if file == folder else file.relative_to(folder).as_posix()


def _pieces(source: FileSource, tensors: TensorMap, changed: Collection[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the ranges of a file that hold tensors which are the same in the result, one after the other."""
    at = 0
    whole = [(ref.segments[0], key) for key, ref in tensors.tensors.items() if len(ref.segments) == 1]
    for (owner, start, stop), key in sorted(whole, key=lambda each: each[0].start):
        if owner == source and start >= at and key not in changed:
            yield start, stop, key
            at = stop


def _rest(source: FileSource, pieces: list[tuple[int, int, str]]) -> TensorRef:
    """Return the bytes of a file that are not in the pieces."""
    ends = [0, *(stop for _, stop, _ in pieces)]
    starts = [*(start for start, _, _ in pieces), source.size]
    segments = tuple(Segment(source, a, b) for a, b in zip(ends, starts, strict=True) if a < b)
    return TensorRef("U8", (sum(b - a for _, a, b in segments),), segments)
