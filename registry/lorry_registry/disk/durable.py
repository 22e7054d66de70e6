"""Whole files or nothing: what is written here is on the disk, complete, before its name appears.

Each file is written under a name in the drafts folder of the same disk, synced, and then put in place by
one atomic step; last the folder is synced, so that the name survives a power cut too. A crash at any point
leaves a draft behind, never half a file.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

WINDOWS = os.name == "nt"
READ_ONLY = 0o444
_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_REPLACE_ATTEMPTS = 10


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """Yield an unused path in `folder`, and remove whatever is still there at the end.

    What cannot be removed is left to whoever collects garbage: what was done with the draft is done.
    """
    path = draft_path(folder)
    try:
        yield path
    finally:
        with suppress(OSError):
            remove(path)


def draft_path(folder: Path, ending: str = "") -> Path:
    """Return an unused path in `folder`, of a name that tells whose it is (see `in_use`)."""
    return folder / f"{_host()}-{os.getpid()}-{os.urandom(6).hex()}{ending}"


def in_use(path: Path) -> bool | None:
    """Tell whether the process that made a draft is alive; None where nobody knows: on another machine, or Windows.

    Its name is its lease: nothing has to be written or taken back, and with its process it ends.
    """
    host, _, rest = path.name.partition("-")
    number = rest.partition("-")[0]
    if WINDOWS or host != _host() or not number.isdecimal():  # on Windows this signal would end the process
        return None
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _host() -> str:
    import socket

    return "".join(letter for letter in socket.gethostname().lower() if letter.isalnum())[:16] or "host"


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink()


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file and sync it."""
    with open_new(path, mode) as handle:
        handle.write(data)


@contextmanager
def open_new(path: Path, mode: int = 0o644, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a new file for writing; sync it at the end, unless that is left to `syncing`."""
    # A read-only file on Windows can be neither renamed nor removed, so there it stays writable.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o644 if WINDOWS else mode), "wb") as handle:
        yield handle
        handle.flush()
        if sync:
            os.fsync(handle.fileno())


@contextmanager
def syncing(paths: Iterable[Path]) -> Iterator[None]:
    """Sync files that were written without that, while other work is done on them; at the end they are on the disk."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        synced = [pool.submit(sync_file, path) for path in paths]
        yield
        for each in synced:
            each.result()


def put_new(draft_path: Path, target: Path) -> bool:
    """Give a synced draft its name unless somebody was first; return whether it was us.

    Exactly one of many callers gets True, on local disks and over NFS: link(2) is atomic. Where the disk
    has no hard links (FAT, some network disks) the name is claimed by an exclusive create and the content
    moved over it; a claim that a crash left behind is an empty file, which `is_claim` recognises.
    """
    first = None
    while first is None:
        try:
            os.link(draft_path, target)
            first = True
        except FileExistsError:
            with suppress(FileNotFoundError):  # gone between the two looks, collected as garbage: put ours there
                # NFS repeats a call whose answer was lost, and then finds its own link there.
                first = target.samefile(draft_path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            first = _claim(draft_path, target)
    # Also where another was first: it may not have synced the name yet, and we are about to rely on it.
    sync_folder(target.parent)
    return first


def put(draft_path: Path, target: Path) -> None:
    """Give a synced draft its name, in place of what had it before."""
    for left in reversed(range(_REPLACE_ATTEMPTS if WINDOWS else 1)):
        try:
            draft_path.replace(target)
            break
        except PermissionError:
            # Windows refuses while somebody has the old file open to read it, which is soon over.
            if not left:
                raise
            time.sleep(0.01)
    sync_folder(target.parent)


def append(path: Path, line: bytes) -> None:
    """Add one line in a single synced write; what a crash left of the line before stays apart from it.

    The file's name is synced too, even where it was there before: whoever made it may have died before that.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, max(size - 1, 0), os.SEEK_SET)
        torn = size and os.read(descriptor, 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each with its name synced.

    Of one that is there the name is synced too: whoever made it may not have come to that yet, and what is put in it
    now is lost without it.
    """
    if path.is_dir():
        with suppress(PermissionError):  # a folder above the home that nobody may list, so not ours to sync
            sync_folder(path.parent)
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows has no such call and does it by itself."""
    if WINDOWS:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable that was written without that."""
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_claim(path: Path) -> bool:
    """Tell whether a name is only claimed (see `put_new`): the file is there and empty."""
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def reason(error: OSError) -> str:
    """Say in words what the system refused, and where."""
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _claim(draft_path: Path, target: Path) -> bool:
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    try:
        draft_path.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True
