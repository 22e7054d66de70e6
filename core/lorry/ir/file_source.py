"""The bytes of a file, read by range, with a watch on the file staying what it was.

The file is opened for each read (10 µs), or for many at once, and never held: thousands of open adapters cost no
descriptors, a file lorry has read can be replaced on Windows too, and threads share nothing. It is never mapped: a
mapped file that somebody shortens kills the process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidFile, NotFound


class FileSource(NamedTuple):
    """A file as it was when first looked at; two looks at the same unchanged file are equal."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def open(cls, path: Path) -> FileSource:
        """Look at a file: raises NotFound where there is none, InvalidFile for what is no regular file."""
        path = Path(path).absolute()
        try:
            found = path.stat()
        except FileNotFoundError:
            raise NotFound(f"{path} does not exist; check the path") from None
        except OSError as error:
            raise InvalidFile(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            raise InvalidFile(f"{path} is not a regular file; give the file itself")
        return cls(path, found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Raise InvalidFile where the file is no longer what it was."""
        if FileSource.open(self.path) != self:
            raise InvalidFile(f"{self.path} has changed since it was opened; open it again")

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`.

        Raises InvalidFile where the file ends before, or has changed since it was looked at.
        """
        with self.opened() as fill:
            fill(start, buffer)

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, memoryview], None]]:
        """Open the file for as long as this lasts and yield its `read_into`, for many small reads."""
        try:
            with self.path.open("rb", buffering=0) as file:
                now = os.fstat(file.fileno())
                if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
                    raise InvalidFile(f"{self.path} has changed since it was opened; open it again")
                yield partial(self._fill, file)
        except PermissionError as error:
            raise InvalidFile(f"{self.path} cannot be read: {error.strerror}; let this user read it") from error
        except OSError as error:
            raise InvalidFile(f"{self.path} can no longer be read: {error.strerror}; open it again") from error

    def _fill(self, file: FileIO, start: int, buffer: memoryview) -> None:
        file.seek(start)
        done = 0
        while done < len(buffer):  # one call gives at most 2 GiB
            got = file.readinto(buffer[done:])
            if not got:
                raise InvalidFile(
                    f"{self.path} ends {len(buffer) - done} bytes short of what was asked for; fetch it again"
                )
            done += got

    def pieces(self, size: int = 1 << 20) -> Iterator[memoryview]:
        """Yield the whole file, `size` bytes at a time, in one buffer that is filled anew for each."""
        buffer = memoryview(bytearray(min(size, self.size)))
        for at in range(0, self.size, size):
            piece = buffer[: min(size, self.size - at)]
            self.read_into(at, piece)
            yield piece

    def read(self, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`, or fewer where the file ends before."""
        data = bytearray(max(0, min(length, self.size - start)))
        self.read_into(start, memoryview(data))
        return bytes(data)
