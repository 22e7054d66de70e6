"""Plain tar archives: written the same way each time, and read strictly, without ever making a file of a member's name.

Python's tarfile reads one header at a time here, and decides nothing: it would follow headers that give other headers
new names, sizes and holes.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lorry.errors import InvalidFile, VerificationFailed

_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_MOST_MEMBERS = 50_000
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
}


class Blob(NamedTuple):
    """Bytes somewhere: `size` of them from `offset` on in what `open_` opens."""

    size: int
    open_: Callable[[], BinaryIO]
    offset: int = 0

    def read(self, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `start` on; fewer where they are no longer there."""
        left = self.size - start
        with self.open_() as file:
            file.seek(self.offset + start)
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk


def write(file: BinaryIO, members: Iterable[tuple[str, Blob]]) -> None:
    """Write members, with nothing of this machine or this moment; raise VerificationFailed for one that is cut."""
    for name, blob in members:
        info = tarfile.TarInfo(name)
        info.size = blob.size
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        written = sum(file.write(chunk) for chunk in blob.read())
        if written != blob.size:
            raise VerificationFailed(
                f"{name} has {written:,} bytes and not {blob.size:,}; it changed while it was read"
            )
        file.write(bytes(-written % _BLOCK))
    file.write(bytes(2 * _BLOCK))
    file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


def read(path: Path, folders: Collection[str] = ()) -> dict[str, Blob]:
    """Return the members of an archive by name, without the `folders` that other tools write down too.

    Raises InvalidFile for what is no plain tar archive of regular files, each of another name, and nothing besides.
    """
    if not path.is_file():
        raise InvalidFile(f"{path} is no regular file")
    found: dict[str, Blob] = {}
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        while (block := file.read(_BLOCK)) != bytes(_BLOCK):
            info = _header(path, block)
            if info.isdir() and info.name in folders and not info.size:
                continue
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                kind = _KINDS.get(info.type, "no file")
                raise InvalidFile(f"{path}: {info.name!r} is {kind}, and a bundle has only files")
            blob = Blob(info.size, lambda: path.open("rb"), file.tell())
            if not 0 <= blob.size <= total - blob.offset:
                raise InvalidFile(f"{path}: {info.name!r} claims {info.size:,} bytes, and the file has not so many")
            if info.name in found or len(found) == _MOST_MEMBERS:
                raise InvalidFile(
                    f"{path}: {info.name!r} is there twice, or one of more than {_MOST_MEMBERS:,} members"
                )
            found[info.name] = blob
            file.seek(blob.offset + blob.size + -blob.size % _BLOCK)
        rest = file.read(_CHUNK)
        if file.read(1) or any(rest):
            raise InvalidFile(f"{path} goes on after its end")
    return found


def _header(path: Path, block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} is no plain tar archive, or a damaged one: {error}") from error


def digest(blob: Blob) -> str:
    """Return the sha256 of a blob's bytes."""
    found = hashlib.sha256()
    for chunk in blob.read():
        found.update(chunk)
    return found.hexdigest()
