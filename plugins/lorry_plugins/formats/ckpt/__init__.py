"""The ckpt container: torch's .ckpt, .pt, .pth and .bin files, read and written without torch and without pickle.

Such a file is a pickle, a program that may do anything when Python loads it. Here nothing in it is ever executed or
imported (`opcodes`): what is no table of tensors and plain values is refused by name. Tensors stay in the file until
they are used. One is written only where it is asked for by name, and holds nothing but tensors and plain values
(`writer`): what lorry writes unasked is safetensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lorry.ir.file_source import FileSource
from lorry.ir.tensor_map import TensorMap
from lorry.plugin import Container, hookimpl

LORRY_API = 1

_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


@hookimpl
def lorry_containers() -> Iterable[Container]:
    """Provide the container."""
    return [
        Container(
            name="ckpt",
            title="PyTorch pickle",
            suffixes=(".ckpt", ".pt", ".pth", ".bin"),
            sniff=sniff,
            read=read,
            write=write,
            metadata=False,
            verify=verify,
            program=True,
        )
    ]


def sniff(path: Path) -> bool:
    """Tell from the first bytes: a pickle of protocol 2 to 5, or a zip whose first member is one of torch's."""
    if not path.is_file():
        return False
    head = FileSource.open(path).read(0, 30 + 512)
    if head.startswith(b"PK\x03\x04"):
        from lorry_plugins.formats.ckpt import zip as zipped

        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return zipped.MEMBER.fullmatch(name.decode("utf-8", "replace")) is not None
    return head.startswith(_PICKLES) and head[3:8] != bytes(5)  # a safetensors header of, say, 640 bytes


def read(path: Path) -> TensorMap:
    """Read the pickle; see `reader.read`, which is imported when there is something to read."""
    from lorry_plugins.formats.ckpt import reader

    return reader.read(path)


def write(tensors: TensorMap, path: Path) -> None:
    """Write tensors and plain values; see `writer.write`, which is imported when there is something to write."""
    from lorry_plugins.formats.ckpt import writer

    writer.write(tensors, path)


def verify(path: Path) -> None:
    """Hold every member of a zip against its CRC-32; see `reader.verify`."""
    from lorry_plugins.formats.ckpt import reader

    reader.verify(path)
