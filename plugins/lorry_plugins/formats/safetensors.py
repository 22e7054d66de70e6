"""The safetensors container: a JSON header that says where each tensor lies, then the tensors end to end.

Layout: https://github.com/huggingface/safetensors#format. This reader is stricter than the official one (which
takes a key twice and lets the last one win), so that no two programs can see different tensors in one file.
The writer gives the bytes the official one gives, with the metadata in the order it was given.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from lorry.errors import InvalidArgument, InvalidFile, NotRepresentable
from lorry.ir.file_sink import write_file
from lorry.ir.file_source import FileSource
from lorry.ir.tensor import BITS, Segment, TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.files import looks_like
from lorry.plugin import Container, hookimpl

LORRY_API = 1

HEADER_LIMIT = 16 << 20
METADATA_LIMIT = 8 << 20
TENSOR_LIMIT = 16_384
"""Three times those of the largest adapters and of whole checkpoints."""
BRACKET_LIMIT = 16 * TENSOR_LIMIT
"""Lists and tables in a header, three a tensor, with room for the text of metadata; more only fill memory."""
KEY_LIMIT = 512
AXES_LIMIT = 32

DTYPES = (
    "BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
    "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64",
)  # fmt: skip
"""Every dtype, in the order of the official `Dtype` enum: its writer puts the last ones first."""


_METADATA = "__metadata__"
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_WHOLE = frozenset({int})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@hookimpl
def lorry_containers() -> Iterable[Container]:
    """Provide the container."""
    return [
        Container(
            name="safetensors",
            title="safetensors",
            suffixes=(".safetensors",),
            sniff=sniff,
            read=read,
            write=write,
            edit=edit,
        )
    ]


def sniff(path: Path) -> bool:
    """Tell from the first nine bytes: a header length, then the brace (or a blank before it) of a header."""
    if not path.is_file():
        return False
    head = FileSource.open(path).read(0, 9)
    return head[8:] in (b"{", b" ", b"\t", b"\n", b"\r") and head[6:8] == b"\0\0"


def read(path: Path) -> TensorMap:
    """Read the header; the tensors stay in the file until they are used."""
    if not sniff(path):
        raise InvalidFile(f"{path} {looks_like(path)}, not a safetensors file; fetch it again or give another file")
    source = FileSource.open(path)
    length = int.from_bytes(source.read(0, 8), "little")
    start = 8 + length
    if start > source.size:
        raise InvalidFile(
            f"{path} is cut off: its header should take {length:,} bytes, the file has {source.size:,}; fetch it again"
        )
    if length > HEADER_LIMIT:
        raise InvalidFile(
            f"{path} has a header of {length:,} bytes, more than the {HEADER_LIMIT:,} any adapter needs; it is refused"
        )
    try:
        tensors, metadata = _parse(source.read(8, length), source.size - start)
    except _Fault as fault:
        raise InvalidFile(f"{path} is not a valid safetensors file: {fault}; fetch or write it again") from None
    refs = {
        key: TensorRef(dtype, shape, (Segment(source, start + first, start + last),) if last > first else ())
        for key, (first, last, dtype, shape) in tensors.items()
    }
    return TensorMap(tensors=refs, metadata=metadata, paths=(path,))


def write(tensors: TensorMap, path: Path) -> None:
    """Write tensors and metadata, in pieces.

    Raises NotRepresentable for values and side files, which this container has no place for, and
    InvalidArgument for keys or metadata that `read` would refuse.
    """
    misplaced = dict.fromkeys(tensors.values, "is a plain value, not a tensor")
    misplaced |= dict.fromkeys(tensors.sides, "is a file of its own")
    if misplaced:
        raise NotRepresentable("a safetensors file", misplaced)
    rank = {dtype: at for at, dtype in enumerate(DTYPES)}
    ordered = dict(sorted(tensors.tensors.items(), key=lambda item: (-rank[item[1].dtype], item[0])))
    try:
        header = _header(ordered, tensors.metadata)
    except (_Fault, UnicodeEncodeError) as fault:
        raise InvalidArgument(f"{path} cannot be written as safetensors: {fault}; rename or shorten it") from None
    write_file(path, len(header).to_bytes(8, "little") + header, ordered.values())


def edit(path: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Write a file again with other metadata; all that follows the header is copied in pieces.

    Raises InvalidArgument for metadata that `read` would refuse.
    """
    read(path)
    source = FileSource.open(path)
    length = int.from_bytes(source.read(0, 8), "little")
    entries = json.loads(source.read(8, length))
    entries.pop(_METADATA, None)
    try:
        _check_metadata(dict(metadata))
        header = _packed({_METADATA: dict(metadata)} | entries if metadata else entries)
        _parse(header, source.size - 8 - length)
    except (_Fault, UnicodeEncodeError, TypeError) as fault:
        raise InvalidArgument(f"{path} cannot have this metadata: {fault}; change or shorten it") from None
    body = TensorRef("U8", (source.size - 8 - length,), (Segment(source, 8 + length, source.size),))
    write_file(target, len(header).to_bytes(8, "little") + header, [body])


def _header(tensors: Mapping[str, TensorRef], metadata: Mapping[str, str]) -> bytes:
    """Build the header of tensors that follow one another; what `read` would refuse is a fault here too."""
    header: dict[str, object] = {}
    at = 0
    for key, ref in tensors.items():
        after = at + ref.nbytes
        header[key] = {"dtype": ref.dtype, "shape": list(ref.shape), "data_offsets": [at, after]}
        at = after
    _check_entries(header)
    if _METADATA in header:
        raise _Fault(f"a tensor is named {_METADATA!r}")
    _check_count(header)
    packed = _packed({_METADATA: _check_metadata(dict(metadata)), **header} if metadata else header)
    _check_size(packed)
    return packed


def _packed(header: Mapping[str, object]) -> bytes:
    """Spell a header as the official serializer does: compact, UTF-8, padded with blanks to 8 bytes."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


class _Fault(Exception):
    """What is wrong with a header, without the name of its file."""


_Entry = tuple[int, int, str, tuple[int, ...]]


def _parse(header: bytes, size: int) -> tuple[dict[str, _Entry], dict[str, str]]:
    """Check a header against the `size` of what follows: (first, last, dtype, shape) by key, and the metadata."""
    _check_size(header)
    if not header.startswith(b"{"):
        raise _Fault("its header does not begin with '{'")
    try:
        entries = json.loads(header.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except RecursionError:
        raise _Fault("its header is nested too deeply") from None
    except ValueError as error:
        raise _Fault(f"its header is not UTF-8 JSON ({error})") from None
    metadata = _check_metadata(entries.pop(_METADATA, {}))
    _check_count(entries)
    tensors = _check_entries(entries)
    at = 0
    for (first, last, *_), key in sorted(zip(tensors.values(), tensors, strict=True)):
        if first != at:
            raise _Fault(f"there is {'a hole' if first > at else 'an overlap'} before tensor {key!r}, at byte {at:,}")
        at = last
    if at != size:
        state = "cut off" if at > size else "followed by something else"
        raise _Fault(f"its tensors are {state}: they take {at:,} bytes, {size:,} follow the header")
    return tensors, metadata


def _check_size(header: bytes) -> None:
    if len(header) > HEADER_LIMIT:
        raise _Fault(f"its header takes {len(header):,} bytes, more than {HEADER_LIMIT:,}")
    if header.count(b"[") + header.count(b"{") > BRACKET_LIMIT:
        raise _Fault(f"its header has more than {BRACKET_LIMIT:,} lists and tables")


def _check_count(entries: Sized) -> None:
    if len(entries) > TENSOR_LIMIT:
        raise _Fault(f"it names {len(entries):,} tensors, more than {TENSOR_LIMIT:,}")


def _check_entries(entries: Mapping[str, Any]) -> dict[str, _Entry]:
    """Check all tensors of a header together; one by one only where that fails, to say which is wrong and why."""
    return _sound_entries(entries) or {key: _check_entry(key, entry) for key, entry in entries.items()}


def _sound_entries(entries: Mapping[str, Any]) -> dict[str, _Entry]:
    """Return the entries if each of them keeps every rule of `_check_entry`, else nothing."""
    rows = entries.values()
    try:
        dtypes, shapes, offsets = ([row[field] for row in rows] for field in ("dtype", "shape", "data_offsets"))
        firsts, lasts = zip(*offsets, strict=True)
        plain = (
            {*map(len, rows)} == {len(_FIELDS)}
            and {*map(type, shapes), *map(type, offsets)} == {list}
            and max(map(len, shapes)) <= AXES_LIMIT
            and _counts([*chain(*shapes, *offsets)])
            and max(map(len, entries)) <= KEY_LIMIT
            and "".join(entries).isprintable()
        )
        if not plain:
            return {}
        layouts = list(zip(dtypes, map(tuple, shapes), strict=True))
        bits = {(dtype, shape): BITS[dtype] * math.prod(shape) for dtype, shape in set(layouts)}
    except (TypeError, KeyError, ValueError):
        return {}
    if [bits[each] for each in layouts] != [8 * (last - first) for first, last in offsets]:
        return {}
    return {
        key: (first, last, *layout) for key, first, last, layout in zip(entries, firsts, lasts, layouts, strict=True)
    }


def _check_entry(key: str, entry: Any) -> _Entry:  # noqa: ANN401  whatever the JSON holds
    _check_key(key)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _Fault(f"tensor {key!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _Fault(f"tensor {key!r} has the unknown dtype {str(dtype)[:32]!r}")
    first, last = offsets if isinstance(offsets, list) and len(offsets) == 2 else (0, -1)  # noqa: PLR2004  first and last
    if not isinstance(shape, list) or len(shape) > AXES_LIMIT or not _counts([*shape, first, last]) or first > last:
        raise _Fault(f"tensor {key!r} has a shape or offsets that are not plain counts")
    if math.prod(shape) * BITS[dtype] != 8 * (last - first):
        raise _Fault(f"tensor {key!r}, {dtype} of {len(shape)} axes, does not fill its {last - first:,} bytes exactly")
    return first, last, dtype, tuple(shape)


def _counts(numbers: list[Any]) -> bool:
    """Tell whether these are integers from 0 to 2**63; True and False are none."""
    return _WHOLE.issuperset(map(type, numbers)) and min(numbers) >= 0 and max(numbers) < 1 << 63


def _check_metadata(metadata: Any) -> dict[str, str]:  # noqa: ANN401  whatever the JSON holds
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Fault("its metadata is not a table of text")
    if sum(len(key) + len(value) for key, value in metadata.items()) > METADATA_LIMIT:
        raise _Fault(f"its metadata has more than {METADATA_LIMIT:,} characters")
    for key in metadata:
        _check_key(key)
    return metadata


def _check_key(key: str) -> None:
    if len(key) > KEY_LIMIT:
        raise _Fault(f"the key {key[:32]!r}… has more than {KEY_LIMIT} characters")
    if not key.isprintable() and _CONTROL.search(key):
        raise _Fault(f"the key {key!r} has control characters")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _Fault(f"its header has the key {twice[:KEY_LIMIT]!r} twice")
    return found


def _refuse(number: str) -> NoReturn:
    raise _Fault(f"its header has {number[:32]!r} where only whole numbers may stand")
