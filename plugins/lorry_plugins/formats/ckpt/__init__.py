"""The ckpt container: torch's .ckpt, .pt, .pth and .bin files, read without torch and without unpickling.

Such a file is a pickle, a program that may do anything when Python loads it. Here nothing in it is ever executed or
imported (`opcodes`): what is no table of tensors and plain values is refused by name. Tensors stay in the file until
they are used. Only reading: what lorry writes is safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lorry.errors import InvalidFile
from lorry.ir.file_source import FileSource
from lorry.ir.tensor_map import TensorMap
from lorry.plugin import Container, hookimpl
from lorry_plugins.formats.ckpt import legacy
from lorry_plugins.formats.ckpt import zip as zipped
from lorry_plugins.formats.ckpt.flatten import flatten
from lorry_plugins.formats.ckpt.opcodes import Refused

LORRY_API = 1

GROWTH_LIMIT = 16
"""How many times larger than their file the tensors may be together: keys may share storages, within reason."""

_PICKLE = re.compile(rb"\x80[\x02-\x05]")


@hookimpl
def lorry_containers() -> Iterable[Container]:
    """Provide the container."""
    return [
        Container(
            name="ckpt", title="PyTorch pickle", suffixes=(".ckpt", ".pt", ".pth", ".bin"), sniff=sniff, read=read
        )
    ]


def sniff(path: Path) -> bool:
    """Tell from the first bytes: a pickle of protocol 2 to 5, or a zip whose first member is one of torch's."""
    if not path.is_file():
        return False
    head = FileSource.open(path).read(0, 30 + 512)
    if head.startswith(b"PK\x03\x04"):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return zipped.MEMBER.fullmatch(name.decode("utf-8", "replace")) is not None
    return _PICKLE.match(head) is not None


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
