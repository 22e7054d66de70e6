"""Reading one pickle: unpack it, run its program on inert values, flatten what comes out."""

from __future__ import annotations

from pathlib import Path

from lorry.errors import InvalidFile
from lorry.ir.file_source import FileSource
from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats.ckpt import legacy
from lorry_plugins.formats.ckpt import zip as zipped
from lorry_plugins.formats.ckpt.flatten import flatten
from lorry_plugins.formats.ckpt.opcodes import Refused

GROWTH_LIMIT = 16
"""How many times larger than their file the tensors may be together: keys may share storages, within reason."""


def read(path: Path) -> TensorMap:
    """Read the pickle; keys of nested tables and lists are joined by dots, wrappers such as state_dict kept."""
    source = FileSource.open(path)
    try:
        root = zipped.load(source) if source.read(0, 2) == b"PK" else legacy.load(source)
        tensors, values = flatten(root, GROWTH_LIMIT * source.size)
    except Refused as reason:
        raise InvalidFile(
            f"{path} is refused: {reason}; nothing in it was run, get the adapter as safetensors instead"
        ) from None
    return TensorMap(tensors=tensors, values=values, paths=(path,))


def verify(path: Path) -> None:
    """Hold every member of a zip against its CRC-32; the older form keeps none. Raises InvalidFile."""
    source = FileSource.open(path)
    try:
        if source.read(0, 2) == b"PK":
            zipped.verify(source)
    except Refused as reason:
        raise InvalidFile(f"{path} is damaged: {reason}; fetch it again") from None
