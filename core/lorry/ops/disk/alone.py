"""Working alone on what an interrupted run goes on from: the lock beside it ends with the process, killed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorry.errors import Conflict, LorryError


@contextmanager
def alone(kept: Path, target: Path) -> Iterator[None]:
    """Hold the lock of `kept`, a file or folder from which `target` is made; nothing of it needs to be there yet.

    Raises Conflict where another process, or another thread of this one, holds it, and LorryError where the system
    refuses to write a lock there.
    """
    from filelock import FileLock, Timeout

    path = kept.with_name(f"{kept.name}.lock")
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        path.open("ab").close()  # filelock takes a folder that refuses new files for one where another holds the lock
        lock.acquire()
    except Timeout:
        raise Conflict(f"{target} is being made by another run; wait for that one, or choose another output") from None
    except OSError as error:
        raise LorryError(f"{target} was not written: {target.parent}: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows lets nobody remove what is open, and filelock does it there
            path.unlink()
        lock.release()
