"""Blobs: immutable bytes, each stored once under the sha256 of its content.

A blob is checked when it is copied. Where it is used as it stands it is hashed, and again whenever its file changed
(see `lorry.ops.disk.known`): one that is linked elsewhere may be written to there, and an adopted one, which is a link
itself, stays where a person keeps it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from lorry.errors import InvalidArgument, InvalidFile, NotFound, VerificationFailed
from lorry.ops.disk.known import known
from lorry_registry.disk import durable

if TYPE_CHECKING:
    from concurrent.futures import Future

MEND = "lorry fsck --repair --from DIR or PLACE mends the registry; so does lorry clone, or publishing the same again"
"""What to do about a blob that is damaged or missing."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 8 << 20
"""Large, since a thread that hashes beside other work waits for its turn after each."""
_MOST = 1 << 30
_NOT_HERE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
"""What copy_file_range(2) says where the system, the disk or two different disks cannot do it."""


class Content(NamedTuple):
    """What a file holds: its sha256 in hexadecimal, and its size in bytes."""

    sha256: str
    size: int


class Blobs:
    """A folder of blobs; `drafts` is a folder on the same disk for files on their way in."""

    def __init__(self, folder: Path, drafts: Path) -> None:
        self._folder, self._drafts = folder, drafts

    def path(self, sha256: str) -> Path:
        """Return where a blob stands, whether or not it is there; refuse anything but 64 hex digits."""
        if not _SHA256.fullmatch(sha256):
            raise InvalidArgument(f"{sha256!r} is not a sha256: 64 hexadecimal digits, lower case")
        return self._folder / sha256[:2] / sha256

    def add(self, draft: Path, content: Content) -> None:
        """Move a synced draft of this content in; a damaged blob of that name is replaced by it.

        A blob that is there already is touched, so that collecting garbage leaves it to whoever relies on it now.
        A draft that is a link is adopted: what it leads to stays where it is.
        """
        target = self.path(content.sha256)
        durable.make_folder(target.parent)
        if draft.is_symlink() or target.is_symlink():
            self._link(draft, target, content)
            return
        while not durable.put_new(draft, target):
            if not self.intact(content):
                durable.put(draft, target)
                return
            with suppress(FileNotFoundError):  # collected between the two looks: put ours there
                os.utime(target)
                return

    def _link(self, draft: Path, target: Path, content: Content) -> None:
        """Put a link in unless the bytes are there, or a file of the registry's own in the place of a link."""
        if draft.is_symlink():
            with suppress(FileExistsError):
                target.symlink_to(draft.readlink())
                durable.sync_folder(target.parent)
                return
            if self.intact(content):
                with suppress(FileNotFoundError, NotImplementedError):  # Windows cannot touch a link
                    os.utime(target, follow_symlinks=False)
                    return
        durable.put(draft, target)

    def rely_on(self, sha256: str) -> None:
        """Touch a blob that is there, so that it is no garbage for now, and sync its name, which may not have been.

        Where we may only read, nobody relies on it by us.
        """
        path = self.path(sha256)
        try:
            os.utime(path, follow_symlinks=not path.is_symlink())
            durable.sync_folder(path.parent)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise

    def add_bytes(self, data: bytes) -> str:
        """Store bytes; return their sha256."""
        content = Content(hashlib.sha256(data).hexdigest(), len(data))
        with durable.draft(self._drafts) as draft:
            durable.write(draft, data, durable.READ_ONLY)
            self.add(draft, content)
        return content.sha256

    def read(self, sha256: str) -> bytes:
        """Return a small blob's bytes; raise VerificationFailed where they are missing or damaged."""
        path = self.path(sha256)
        data = path.read_bytes() if path.is_file() else None
        self._compare(sha256, hashlib.sha256(data).hexdigest() if data is not None else None)
        return data or b""

    def copy(self, content: Content, target: Path) -> None:
        """Copy a blob to a new file, checking it on the way; raise VerificationFailed if it is not intact."""
        path = self.path(content.sha256)
        self._compare(content.sha256, copy(path, target).sha256 if path.is_file() else None)

    def verify(self, content: Content) -> None:
        """Read a whole blob; raise VerificationFailed where it is missing or damaged."""
        path = self.path(content.sha256)
        self._compare(content.sha256, measure(path).sha256 if path.is_file() else None)

    def intact(self, content: Content) -> bool:
        """Tell whether a blob is there, whole and undamaged."""
        path = self.path(content.sha256)
        try:
            return path.is_file() and path.stat().st_size == content.size and measure(path) == content
        except FileNotFoundError:
            return False

    def _compare(self, expected: str, found: str | None) -> None:
        if found is None:
            raise VerificationFailed(f"{self.name(expected)} is missing")
        if found != expected:
            raise VerificationFailed(f"{self.name(expected)} is damaged: the bytes there have sha256 {found}")

    def name(self, sha256: str) -> str:
        """Say where a blob's bytes should be."""
        path = self.path(sha256)
        if path.is_symlink():
            return f"{path.readlink()}, which was added in place (put it back, or add it again where it is now),"
        return f"its blob {path}"


def copy(source: Path, target: Path, mode: int = 0o644) -> Content:
    """Copy a regular file to a new one, synced; return the content of what was copied.

    The hash is of the very bytes written, so that a file changing meanwhile cannot slip in.
    """
    _check_regular(source)
    with source.open("rb") as reader, durable.open_new(target, mode) as writer:
        return _drain(reader, writer)


def duplicate(source: Path, target: Path, mode: int = 0o644) -> None:
    """Copy a regular file to a new one, neither synced nor hashed: by the system, which shares the bytes where it can.

    Raises InvalidFile for a file that changes its size meanwhile.
    """
    _check_regular(source)
    with source.open("rb") as reader, durable.open_new(target, mode, sync=False) as writer:
        size = os.fstat(reader.fileno()).st_size
        if not _copied_by_the_system(reader, writer):
            import shutil  # here: it takes each command a while to load

            shutil.copyfileobj(reader, writer, _CHUNK)
        writer.flush()
        if os.fstat(writer.fileno()).st_size != size:
            raise InvalidFile(f"{source} changed while it was copied; try again when it is finished")


@contextmanager
def measuring(paths: Mapping[str, Path]) -> Iterator[Mapping[str, Future[Content]]]:
    """Find the content of files while other work is done on them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield {name: pool.submit(measure, path) for name, path in paths.items()}


@contextmanager
def checking(checks: Iterable[Callable[[], object]]) -> Iterator[None]:
    """Check files while other work is done on them; what a check raises comes before what that work raises."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(check) for check in checks]
        try:
            yield
        finally:
            for each in running:
                each.result()


def measure(path: Path) -> Content:
    """Return the content of a file."""
    with path.open("rb") as reader:
        return _drain(reader)


def known_sha256(path: Path) -> str:
    """Return the sha256 of a file, which is read only where it changed since it was last asked for."""
    return known(path, "sha256", lambda: measure(path).sha256)


def _check_regular(source: Path) -> None:
    if not source.exists():
        raise NotFound(f"{source} does not exist; check the path")
    if not source.is_file():
        raise InvalidFile(f"{source} is not a regular file")


def _copied_by_the_system(reader: BinaryIO, writer: BinaryIO) -> bool:
    """Copy by copy_file_range(2), on btrfs and XFS without moving a byte; tell whether there is such a thing here."""
    if not hasattr(os, "copy_file_range"):
        return False
    try:
        while os.copy_file_range(reader.fileno(), writer.fileno(), _MOST):
            pass
    except OSError as error:
        if error.errno in _NOT_HERE and not os.fstat(writer.fileno()).st_size:
            return False
        raise
    return True


def _drain(reader: BufferedIOBase, writer: BinaryIO | None = None) -> Content:
    digest, size = hashlib.sha256(), 0
    buffer = bytearray(min(_CHUNK, os.fstat(reader.fileno()).st_size + 1))
    view = memoryview(buffer)
    while count := reader.readinto(buffer):
        chunk = view[:count]
        digest.update(chunk)
        if writer:
            writer.write(chunk)
        size += count
    return Content(digest.hexdigest(), size)
