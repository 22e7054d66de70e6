"""The form torch wrote before 1.6: five pickles in a row, then the storages, each after its number of elements.

The pickles are a magic number, a protocol version, facts of the machine, the object, and the keys of the storages
in the order they follow. https://github.com/pytorch/pytorch/blob/main/torch/serialization.py, _legacy_save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeGuard

from lorry.ir.file_source import FileSource
from lorry.ir.tensor import BITS
from lorry_plugins.formats.ckpt.allowed import ALLOWED
from lorry_plugins.formats.ckpt.opcodes import Global, Machine, Refused, shown
from lorry_plugins.formats.ckpt.tensors import Pointer, Storage, read_pointer

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
PICKLE_LIMIT = 16 << 20


def load(source: FileSource) -> object:
    """Read the object of a legacy torch file. Raises Refused."""
    data = source.read(0, PICKLE_LIMIT)
    at = 0
    for wanted in (MAGIC, PROTOCOL, None):
        found, at = _run(data, at, _no_storage)
        if wanted is not None and found != wanted:
            raise Refused("it is a pickle, but not one that torch wrote")
    pointers: dict[str, Pointer] = {}

    def note(value: object) -> object:
        if _is_class(value):
            return value[1]
        pointer = read_pointer(value)
        if pointers.setdefault(pointer.key, pointer) != pointer:
            raise Refused(f"it describes storage {shown(pointer.key)} in two ways")
        return Storage(pointer.dtype, source, 0, pointer.nbytes)

    _, end = _run(data, at, note)
    keys, start = _run(data, end, _no_storage)
    places = _places(source, start, keys, pointers)

    def find(value: object) -> object:
        if _is_class(value):
            return value[1]
        pointer = read_pointer(value)
        return Storage(pointer.dtype, source, places[pointer.key], pointer.nbytes)

    root, _ = _run(data, at, find)  # again, now that it is known where the storages lie
    return root


def _is_class(value: object) -> TypeGuard[tuple[str, Global, object, object]]:
    """Tell whether a persistent id is ("module", class, file, source text): a class by name, as any other name."""
    return type(value) is tuple and len(value) == 4 and value[0] == "module" and isinstance(value[1], Global)  # noqa: PLR2004  named above


def _run(data: bytes, at: int, storage: Callable[[object], object]) -> tuple[object, int]:
    machine = Machine(data, at, ALLOWED, storage)
    return machine.run(), machine.at


def _no_storage(_: object) -> NoReturn:
    raise Refused("it points to a storage where none can be")


def _places(source: FileSource, at: int, keys: object, pointers: dict[str, Pointer]) -> dict[str, int]:
    """Walk along the storages: where each one's bytes start."""
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(pointers):
        raise Refused("its list of storages does not name those that its tensors use")
    places: dict[str, int] = {}
    for key in keys:
        pointer = pointers[key]
        count = int.from_bytes(source.read(at, 8), "little")
        if count * BITS[pointer.dtype] // 8 != pointer.nbytes or at + 8 + pointer.nbytes > source.size:
            raise Refused(f"storage {shown(key)} is cut off or not of the size its tensors say")
        places[key] = at + 8
        at += 8 + pointer.nbytes
    if at != source.size:
        raise Refused(f"something follows its last storage, at byte {at:,}")
    return places
