"""What an entry of the corpus is, and the hands that make files no tool would write."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry.errors import InvalidFile, LorryError, NotRecognised
from lorry.ops.judging.findings import ACCEPT, REJECT, WARN

MARKER = "marker"
"""The canary: every program of the corpus that runs makes a file of this name in the folder it runs in."""

TOUCH = f"touch {MARKER}".encode()

Make = Callable[[Path], Path]


@dataclass(frozen=True)
class Attack:
    """A file or folder with the answer it must get: the verdict, words of its worst finding, and what opening raises.

    `made` is the bytes of a file called `name`, or a function that makes something in a folder and returns its path.
    """

    made: bytes | Make
    says: str
    verdict: str = REJECT
    error: type[LorryError] | None = InvalidFile
    name: str = "a.safetensors"

    def put(self, folder: Path) -> Path:
        """Make it in a folder that is there."""
        if isinstance(self.made, bytes):
            path = folder / self.name
            path.write_bytes(self.made)
            return path
        return self.made(folder)


def refused(entries: Mapping[str, tuple[bytes | Make, str]], name: str = "a.safetensors") -> dict[str, Attack]:
    """Return entries that no container or dialect reads."""
    return {title: Attack(made, says, name=name) for title, (made, says) in entries.items()}


def unknown(made: bytes | Make, says: str, name: str = "a.safetensors") -> Attack:
    """Return an entry that is read and means nothing."""
    return Attack(made, says, error=NotRecognised, name=name)


def opened(made: bytes | Make, says: str, verdict: str = REJECT, name: str = "a.safetensors") -> Attack:
    """Return an entry that opens, and that only looking at its numbers and names finds out about."""
    return Attack(made, says, verdict, error=None, name=name)


def doubtful(made: bytes | Make, says: str) -> Attack:
    """Return an entry that opens and gets a warning."""
    return opened(made, says, WARN)


def sound(made: bytes | Make, name: str = "a.safetensors") -> Attack:
    """Return an entry that nothing is wrong with: what the attacks beside it are made from."""
    return opened(made, "", ACCEPT, name)


# Pickles and zip files


class Call:
    """An object whose pickle asks for a call."""

    def __init__(self, call: object, *given: object, persistent: object = None) -> None:
        self.reduced, self.persistent = (call, given), persistent

    def __reduce__(self) -> Any:
        return self.reduced


class Pickler(pickle.Pickler):
    """Write `Call(persistent=…)` as a persistent id, as torch writes storages."""

    def persistent_id(self, thing: Any) -> Any:
        return thing.persistent if isinstance(thing, Call) else None


def dumps(thing: object, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(thing)
    return file.getvalue()


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def in_zip(program: bytes, **members: bytes) -> bytes:
    return zipped({"x/data.pkl": program, **{f"x/data/{key[1:]}": data for key, data in members.items()}})


def in_legacy(program: bytes) -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + program


def patched(data: bytes, at: bytes, offset: int, new: bytes, *, last: bool = False) -> bytes:
    """Replace bytes, `offset` after the first (or last) place that begins with `at`."""
    place = (data.rindex(at) if last else data.index(at)) + offset
    return data[:place] + new + data[place + len(new) :]


# Safetensors


def file_of(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + body


def header_of(*entries: tuple[str, object]) -> bytes:
    """Build JSON by hand, since a table would drop what is there twice."""
    return ("{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in entries) + "}").encode()


def one(dtype: object = "F32", shape: object = (1,), at: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": at}


Tensors = Mapping[str, tuple[Sequence[int], float | bytes]]
"""Tensors of F32 by key: the shape, and the number they are full of or their bytes."""


def adapter(tensors: Tensors, metadata: Mapping[str, str] | None = None, dtype: str = "F32") -> bytes:
    """Build a sound safetensors file, without torch and however many tensors there are."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    body = bytearray()
    letter, width = {"F32": ("f", 4), "F16": ("e", 2)}[dtype]
    for key, (shape, value) in tensors.items():
        at = len(body)
        body += value if isinstance(value, bytes) else struct.pack(f"<{letter}", value) * math.prod(shape)
        assert len(body) - at == math.prod(shape) * width
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, len(body)]}
    return file_of(json.dumps(entries, separators=(",", ":")).encode(), bytes(body))
