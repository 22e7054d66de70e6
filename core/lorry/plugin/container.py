"""A container: how tensors are packed into bytes (safetensors, ckpt, a folder), whatever they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.ir.tensor_map import TensorMap


class Container(NamedTuple):
    """One way of packing tensors.

    `sniff` says from the path's first bytes (or, for a folder, its entries) whether this container reads
    it, never from the suffix alone. `read` raises InvalidFile for what is its own but broken. `write` puts
    one file or folder at the given path, which is new; it is None where lorry only reads. A write of equal
    tensors gives equal bytes. `edit` writes what is at the first path at the second, which is new, with other
    metadata and every tensor byte as it stands; it is None where there is no metadata to write. `verify` reads
    every byte and raises InvalidFile where one differs from a checksum in the file; it is None where there is none.
    `metadata` False says that it has no place for any, so that `write` leaves it out.
    `program` says that the bytes are instructions, as a pickle's are: `lorry validate` then reads them in a process
    of limited means.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Path], bool]
    read: Callable[[Path], TensorMap]
    write: Callable[[TensorMap, Path], None] | None = None
    edit: Callable[[Path, Path, Mapping[str, str]], None] | None = None
    verify: Callable[[Path], None] | None = None
    metadata: bool = True
    program: bool = False
