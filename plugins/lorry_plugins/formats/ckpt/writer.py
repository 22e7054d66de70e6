"""Writing what torch.load(weights_only=True) reads: a list or table of tensors and plain values, and nothing else.

The zip and the pickle in it are those of torch.save since 1.6, byte by byte spelled here; no object of Python is ever
pickled, and the only names in it are those of torch's tensors. Source: pytorch torch/serialization.py (`_save`) and
torch/_utils.py (`_rebuild_tensor_v2`, `_rebuild_tensor_v3`); opcodes: Python's pickletools.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lorry.errors import InvalidArgument, InvalidFile, NotRepresentable
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import Scalar, TensorMap
from lorry_plugins.formats.ckpt.allowed import DTYPES
from lorry_plugins.formats.ckpt.tensors import STORAGES

_FOLDER = "archive"
_ALIGNMENT = 64
_CHUNK = 16 << 20
_ZIP64 = 1 << 31
_LOCAL_HEADER = 30
_TYPED = {dtype: name for name, dtype in STORAGES.items() if name != "torch.storage.UntypedStorage"}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_MARK, _TUPLE, _REDUCE, _STOP, _PERSISTENT = b"(", b"t", b"R", b".", b"Q"
_LIST, _APPENDS, _DICT, _SETITEMS = b"]", b"e", b"}", b"u"


def write(tensors: TensorMap, path: Path) -> None:
    """Write a new file; tensors that go by the numbers 0, 1, 2 … become a list, all others a table by their keys.

    Raises NotRepresentable for side files and for dtypes that torch has not, and InvalidArgument for keys that
    `read` would refuse. Metadata has no place here.
    """
    refused = dict.fromkeys(tensors.sides, "is a file of its own")
    refused |= {
        key: f"{ref.dtype} is no dtype of torch" for key, ref in tensors.tensors.items() if ref.dtype not in _NAMES
    }
    if refused:
        raise NotRepresentable("a PyTorch pickle", refused)
    if twice := tensors.tensors.keys() & tensors.values.keys():
        raise InvalidArgument(f"{min(twice)!r} is both a tensor and a plain value")
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        _put(archive, "data.pkl", [_pickle(tensors)])
        _put(archive, "byteorder", [b"little"])
        for at, ref in enumerate(tensors.tensors.values()):
            _put(archive, f"data/{at}", _pieces(ref), ref.nbytes)
        _put(archive, "version", [b"3\n"])
    _check(path)


def _check(path: Path) -> None:
    from lorry_plugins.formats.ckpt.reader import read

    try:
        read(path)
    except InvalidFile as error:
        raise InvalidArgument(
            f"this cannot be written as a PyTorch pickle, since nobody could read it: {error}"
        ) from None


def _put(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes | memoryview], nbytes: int = 0) -> None:
    """Add a member whose bytes begin at a multiple of 64 in the file, as torch's do, so that they can be mapped."""
    member = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    big = nbytes >= _ZIP64
    start = archive.fp.tell() if archive.fp else 0
    head = start + _LOCAL_HEADER + len(member.filename) + (20 if big else 0) + 4
    padding = -head % _ALIGNMENT
    member.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    with archive.open(member, "w", force_zip64=big) as file:
        for piece in pieces:
            file.write(piece)


def _pieces(ref: TensorRef) -> Iterable[memoryview]:
    for source, start, stop in ref.segments:
        for at in range(start, stop, _CHUNK):
            piece = memoryview(bytearray(min(_CHUNK, stop - at)))
            source.read_into(at, piece)
            yield piece


def _pickle(tensors: TensorMap) -> bytes:
    keys = [*tensors.tensors, *tensors.values]
    items = [_tensor(at, ref) for at, ref in enumerate(tensors.tensors.values())]
    items += [_scalar(value) for value in tensors.values.values()]
    if keys == [str(at) for at in range(len(keys))]:
        body = _LIST + _MARK + b"".join(items) + _APPENDS
    else:
        pairs = zip(map(_text, keys), items, strict=True)
        body = _DICT + _MARK + b"".join(key + item for key, item in pairs) + _SETITEMS
    return b"\x80\x02" + body + _STOP


def _tensor(at: int, ref: TensorRef) -> bytes:
    """Spell `rebuild(storage, 0, shape, strides, False, OrderedDict())`, and a dtype no storage class tells."""
    typed = _TYPED.get(ref.dtype)
    count = ref.numel if typed else ref.nbytes
    kind = typed or "torch.storage.UntypedStorage"
    pointer = _text("storage") + _global(kind) + _text(str(at)) + _text("cpu") + _integer(count)
    strides, step = [], 1
    for size in reversed(ref.shape):
        strides.append(step)
        step *= max(size, 1)
    arguments = [
        _tuple(pointer) + _PERSISTENT,
        _integer(0),
        _tuple(b"".join(map(_integer, ref.shape))),
        _tuple(b"".join(map(_integer, reversed(strides)))),
        _scalar(value=False),
        _global("collections.OrderedDict") + b")" + _REDUCE,
    ]
    rebuild = "torch._utils._rebuild_tensor_v2"
    if not typed:
        rebuild = "torch._utils._rebuild_tensor_v3"
        arguments.append(_global(f"torch.{_NAMES[ref.dtype]}"))
    return _global(rebuild) + _tuple(b"".join(arguments)) + _REDUCE


def _global(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def _tuple(items: bytes) -> bytes:
    return _MARK + items + _TUPLE


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(number: int) -> bytes:
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    if len(data) > 255:  # noqa: PLR2004  what one byte counts
        raise InvalidArgument(f"the number {str(number)[:40]}… is too long to be written")
    return b"\x8a" + bytes([len(data)]) + data


def _scalar(value: Scalar) -> bytes:
    if value is None or isinstance(value, bool):
        names: Mapping[object, bytes] = {None: b"N", True: b"\x88", False: b"\x89"}
        return names[value]
    if isinstance(value, int):
        return _integer(value)
    return b"G" + struct.pack(">d", value) if isinstance(value, float) else _text(value)
