"""Writing a file from tensors that are read, or computed, as they are written.

The file is cut into pieces, and two threads take the next one in turn: each fills a buffer of its own and writes it
where it belongs, so that while one waits for the disk the other reads or computes. What is in memory does not grow
with the file. Large files are written past the system's cache where it lets us: filling that with gigabytes takes more
time than all arithmetic, and drives out what is in use.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from lorry.ir.tensor import MemorySource, Segment, TensorRef, opened
from lorry.ir.watch import Watch, watch

PIECE = 8 << 20
"""Bytes in a piece: a multiple of what any disk wants to be written at a time."""

_BLOCK = 4096
_THREADS = 2


class _Piece(NamedTuple):
    """What stands from `start` on in the file, `size` bytes."""

    start: int
    size: int
    segments: list[Segment]


def write_file(path: Path, head: bytes, tensors: Iterable[TensorRef]) -> None:
    """Write `head` and the bytes of the tensors, end to end, as a new file.

    Room is taken for the whole file first, so that a disk that is too full says so before anything is computed.
    Raises FileExistsError and whatever else the system says.
    """
    pieces = deque(_pieces([Segment(MemorySource(head), 0, len(head)), *(s for ref in tensors for s in ref.segments)]))
    size = pieces[-1].start + pieces[-1].size if pieces else 0
    watcher = watch()
    watcher.expect(size)
    with path.open("xb") as file:
        _reserve(file.fileno(), size)
    if len(pieces) <= _THREADS:
        _fill(os.open(path, _PLAIN), pieces, watcher)
    else:
        _share(path, pieces, watcher)
    os.truncate(path, size)  # the last block was written whole


def _share(path: Path, pieces: deque[_Piece], watcher: Watch) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _fill(_open(path), pieces, watcher)
        except BaseException as error:  # noqa: BLE001  raised below, in the thread that asked
            pieces.clear()  # so that the others end too
            errors.append(error)

    others = [Thread(target=work) for _ in range(_THREADS - 1)]
    for thread in others:
        thread.start()
    work()
    try:
        for thread in others:
            thread.join()
    except BaseException:  # Ctrl-C
        pieces.clear()
        for thread in others:
            thread.join()
        raise
    if errors:
        raise errors[0]


def _fill(handle: int, pieces: deque[_Piece], watcher: Watch) -> None:
    """Write pieces until none is left, and close the file; the last one is filled up with zeros to a whole block."""
    buffer = memoryview(mmap.mmap(-1, PIECE))  # begins where a block of memory does
    with os.fdopen(handle, "r+b", buffering=0) as file:
        while True:
            try:
                start, size, segments = pieces.popleft()
            except IndexError:
                return
            at = 0
            for source, group in groupby(segments, key=attrgetter("source")):
                with opened(source) as fill:
                    for _, first, last in group:
                        fill(first, buffer[at : at + last - first])
                        at += last - first
            file.seek(start)
            written = 0
            while written < size:
                written += file.write(buffer[written : size + -size % _BLOCK])
            watcher.advance(size)


def _pieces(segments: Iterable[Segment]) -> Iterator[_Piece]:
    start, size, gathered = 0, 0, list[Segment]()
    for source, first, last in segments:
        at = first
        while at < last:
            stop = min(last, at + PIECE - size)
            _append(gathered, Segment(source, at, stop))
            size += stop - at
            at = stop
            if size == PIECE:
                yield _Piece(start, size, gathered)
                start, size, gathered = start + size, 0, []
    if size:
        yield _Piece(start, size, gathered)


def _append(segments: list[Segment], segment: Segment) -> None:
    """Join a segment to the last one where it goes on there, so that neighbours in a file are read at once."""
    if segments and segments[-1].source is segment.source and segments[-1].stop == segment.start:
        segments[-1] = segments[-1]._replace(stop=segment.stop)
    else:
        segments.append(segment)


_PLAIN = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def _open(path: Path) -> int:
    """Open a new file past the system's cache, where system and disk let us write a block that way."""
    if hasattr(os, "O_DIRECT"):
        with suppress(OSError), os.fdopen(os.open(path, _PLAIN | os.O_DIRECT), "r+b", buffering=0) as file:
            file.write(mmap.mmap(-1, _BLOCK))
            return os.dup(file.fileno())
    return os.open(path, _PLAIN)


def _reserve(handle: int, size: int) -> None:
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)
