"""The form torch has written since 1.6: an uncompressed zip of one pickle and one member for each storage.

Only the zip features torch uses are read, and only its member names. Nothing is unpacked: a storage is a byte range
of the archive. Zip: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16
(the ends of it), 4.5.3 (zip64).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lorry.ir.file_source import FileSource
from lorry_plugins.formats.ckpt.allowed import ALLOWED
from lorry_plugins.formats.ckpt.opcodes import Machine, Refused, shown
from lorry_plugins.formats.ckpt.tensors import Storage, read_pointer

PICKLE_LIMIT = 16 << 20
MEMBER_LIMIT = 16_384 + 16
DIRECTORY_LIMIT = MEMBER_LIMIT * 256
_NAME_LIMIT = 512
"""Of a member's name as its local header has it: torch's own name of the file, and a storage's."""

MEMBER = re.compile(
    r"([^/\\]+)/(data\.pkl|data/\w{1,20}|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
"""A folder of any name, and in it what torch writes there."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR64 = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_FULL = 0xFFFFFFFF
_FULLS = (0xFFFF, _FULL, _FULL)
"""What stands for a count, a length and a place that only the zip64 record can hold."""


class Member(NamedTuple):
    """One entry of the central directory: size and place in bytes; crc 0 where torch was told to compute none."""

    name: str
    nbytes: int
    header: int
    crc: int


def load(source: FileSource) -> object:
    """Read the pickle of a torch zip file. Raises Refused."""
    members = _members(source)
    if "data.pkl" not in members:
        raise Refused("it is a zip file without data.pkl, so torch did not write it")
    pickle = members["data.pkl"]
    if pickle.nbytes > PICKLE_LIMIT:
        raise Refused(f"its pickle takes {pickle.nbytes:,} bytes, more than {PICKLE_LIMIT:,}")
    places = _places(source, members)
    order = members.get("byteorder")
    if order is not None and source.read(places["byteorder"], min(order.nbytes, 8)) != b"little":
        raise Refused("it was written on a big-endian machine; load and save it with torch on another")
    data = source.read(places["data.pkl"], pickle.nbytes)
    _check_crc(pickle, zlib.crc32(data))

    def storage(value: object) -> Storage:
        dtype, key, nbytes = read_pointer(value)
        member = members.get(f"data/{key}")
        if member is None or member.nbytes != nbytes:
            there = f"has {member.nbytes:,}" if member else "is missing"
            raise Refused(f"storage {shown(key)} should have {nbytes:,} bytes and {there}")
        return Storage(dtype, source, places[f"data/{key}"], nbytes)

    machine = Machine(data, 0, ALLOWED, storage)
    root = machine.run()
    if machine.at != pickle.nbytes:
        raise Refused("something follows the end of its pickle")
    return root


def verify(source: FileSource) -> None:
    """Hold every member against its CRC-32, in pieces of 16 MiB. Raises Refused."""
    members = _members(source)
    places = _places(source, members)
    for name, member in members.items():
        crc, start = 0, places[name]
        for at in range(start, start + member.nbytes, PICKLE_LIMIT):
            crc = zlib.crc32(source.read(at, min(PICKLE_LIMIT, start + member.nbytes - at)), crc)
        _check_crc(member, crc)


def _check_crc(member: Member, crc: int) -> None:
    if member.crc not in (0, crc):
        raise Refused(f"its member {shown(member.name)} is not what its CRC-32 says")


def _members(source: FileSource) -> dict[str, Member]:
    """Read the central directory: members by name, without the folder they all lie in."""
    count, start, length = _directory(source)
    if start + length > source.size:
        raise Refused("it is a zip file whose directory is cut off")
    if count > MEMBER_LIMIT or length > DIRECTORY_LIMIT:
        raise Refused(f"it is a zip file of {count:,} members, more than {MEMBER_LIMIT:,}")
    found: dict[str, Member] = {}
    folders = set()
    for member in _entries(source.read(start, length), count):
        match = MEMBER.fullmatch(member.name)
        if not match or match[1] in (".", ".."):
            raise Refused(f"it is a zip file with a member {shown(member.name)}, which torch does not write")
        folders.add(match[1])
        if match[2] in found:
            raise Refused(f"it is a zip file with two members named {shown(member.name)}")
        found[match[2]] = member
    if len(folders) > 1:
        raise Refused(f"it is a zip file of {len(folders)} folders, torch writes one")
    if sum(member.nbytes for member in found.values()) > source.size:
        raise Refused("it is a zip file whose members together are larger than itself")
    return found


def _directory(source: FileSource) -> tuple[int, int, int]:
    """Find the central directory: number of members, where it starts, how long it is."""
    at = source.size - _END.size
    fields = _END.unpack(source.read(max(at, 0), _END.size).ljust(_END.size, b"\0"))
    if fields[0] != b"PK\x05\x06" or fields[-1]:
        raise Refused("it is a zip file that is cut off or followed by something else")
    count, length, start = told = fields[4:7]
    end = at
    if at >= _LOCATOR64.size:
        mark, _, at64, _ = _LOCATOR64.unpack(source.read(at - _LOCATOR64.size, _LOCATOR64.size))
        if mark == b"PK\x06\x07":
            if at64 + _END64.size > source.size:
                raise Refused("it is a zip file that is cut off")
            fields = _END64.unpack(source.read(at64, _END64.size))
            if fields[0] != b"PK\x06\x06":
                raise Refused("it is a zip file whose directory is damaged")
            count, length, start = wide = fields[7:10]
            if any(each not in (full, other) for each, full, other in zip(told, _FULLS, wide, strict=True)):
                raise Refused("it is a zip file with two directories")
            end = at64
    if start + length < end:
        raise Refused("it is a zip file with something between its directory and its end")
    return count, start, length


def _entries(directory: bytes, count: int) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise Refused("it is a zip file whose directory is cut off")
        fields = _CENTRAL.unpack_from(directory, at)
        mark, _, _, flags, method, _, _, crc, packed, nbytes, name_length, extra_length, note_length = fields[:13]
        at += _CENTRAL.size
        name = directory[at : at + name_length].decode("utf-8", "replace")
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + note_length
        if mark != b"PK\x01\x02" or at > len(directory):
            raise Refused("it is a zip file whose directory is damaged")
        packed, nbytes, header = _widen(extra, packed, nbytes, fields[16])
        if flags & 0x2041 or method or packed != nbytes:
            raise Refused(f"its member {shown(name)} is compressed or encrypted, which torch never does")
        yield Member(name, nbytes, header, crc)
    if at != len(directory):
        raise Refused("it is a zip file with more in its directory than the members it counts")


def _widen(extra: bytes, packed: int, nbytes: int, header: int) -> tuple[int, int, int]:
    """Replace sizes that do not fit 32 bits by those of the zip64 extra field."""
    wide = b""
    while len(extra) >= 4:  # noqa: PLR2004  id and length
        kind, length = struct.unpack_from("<2H", extra)
        wide = extra[4 : 4 + length] if kind == 1 else wide
        extra = extra[4 + length :]
    numbers = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
    nbytes, packed, header = (next(numbers, each) if each == _FULL else each for each in (nbytes, packed, header))
    return packed, nbytes, header


def _places(source: FileSource, members: Mapping[str, Member]) -> dict[str, int]:
    """Return where each member's bytes start. Raises Refused where two share bytes."""
    places = {name: _place(source, member) for name, member in members.items()}
    end = 0
    for name, member in sorted(members.items(), key=lambda item: item[1].header):
        if member.header < end:
            raise Refused(f"its member {shown(member.name)} overlaps another one")
        end = places[name] + member.nbytes
    return places


def _place(source: FileSource, member: Member) -> int:
    """Return where a member's bytes start: after its local header, whose length only that header tells."""
    if member.header + _LOCAL.size > source.size:
        raise Refused(f"its member {shown(member.name)} lies beyond its end")
    header = source.read(member.header, _LOCAL.size + _NAME_LIMIT)
    mark, _, flags, method, _, _, crc, packed, nbytes, name_length, extra_length = _LOCAL.unpack_from(header)
    name = header[_LOCAL.size : _LOCAL.size + name_length].decode("utf-8", "replace")
    start = member.header + _LOCAL.size + int(name_length) + int(extra_length)
    if mark != b"PK\x03\x04" or name != member.name:
        raise Refused(f"its member {shown(member.name)} is not where the directory says")
    later = flags & 0x0008  # sizes and checksum follow the bytes instead
    if flags & 0x2041 or method or not (later or (crc == member.crc and {packed, nbytes} <= {member.nbytes, _FULL})):
        raise Refused(f"its member {shown(member.name)} is described in two ways")
    if start + member.nbytes > source.size:
        raise Refused(f"its member {shown(member.name)} is cut off")
    return start
