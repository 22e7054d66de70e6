"""Writing a file from tensors that are read, or computed, as they are written.

Two threads take the next piece, fill a buffer of their own with it and write it where it belongs: while one waits
for the disk or computes, the other reads or writes. What is in memory does not grow with the file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lorry.ir.tensor import Segment, TensorRef

PIECE = 8 << 20
"""Bytes taken at a time by each thread."""

_THREADS = 2


class _Piece(NamedTuple):
    """What stands from `start` on in the file."""

    start: int
    segments: list[Segment]


def write_file(path: Path, head: bytes, tensors: Iterable[TensorRef]) -> None:
    """Write `head` and the bytes of the tensors, end to end, as a new file.

    Room is taken for the whole file first, so that a disk that is too full says so before anything is computed.
    Raises FileExistsError and whatever else the system says.
    """
    pieces = deque(_pieces(len(head), tensors))
    size = pieces[-1].start + _size(pieces[-1]) if pieces else len(head)
    with path.open("xb") as file:
        _reserve(file.fileno(), size)
        file.write(head)
    _work(path, pieces)


def _work(path: Path, pieces: deque[_Piece]) -> None:
    largest = max(map(_size, pieces), default=0)
    if len(pieces) < _THREADS:
        _fill(path, pieces, largest)
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done in as_completed([pool.submit(_fill, path, pieces, largest) for _ in range(_THREADS)]):
                done.result()
        except BaseException:
            pieces.clear()  # so that the other thread ends too
            raise


def _fill(path: Path, pieces: deque[_Piece], largest: int) -> None:
    """Write pieces, the largest of so many bytes, until none is left."""
    buffer = memoryview(bytearray(largest))
    with path.open("r+b", buffering=0) as file:
        while True:
            try:
                start, segments = pieces.popleft()
            except IndexError:
                return
            filled = 0
            for source, first, last in segments:
                source.read_into(first, buffer[filled : filled + last - first])
                filled += last - first
            file.seek(start)
            written = 0
            while written < filled:  # one call writes at most 2 GiB
                written += file.write(buffer[written:filled])


def _pieces(start: int, tensors: Iterable[TensorRef]) -> Iterator[_Piece]:
    """Cut tensors into pieces of whole rows where they are large, and gather small neighbours into one."""
    piece = _Piece(start, [])
    filled = 0
    for tensor in tensors:
        row = tensor.nbytes // max(tensor.shape[0], 1) if tensor.shape else tensor.nbytes
        step = PIECE // row * row if 0 < row <= PIECE else PIECE
        for source, first, last in tensor.segments:
            for at in range(first, last, step):
                size = min(step, last - at)
                if filled and filled + size > PIECE:
                    yield piece
                    piece, filled = _Piece(piece.start + filled, []), 0
                _append(piece.segments, Segment(source, at, at + size))
                filled += size
    if filled:
        yield piece


def _append(segments: list[Segment], segment: Segment) -> None:
    """Join a segment to the last one where it goes on there, so that neighbours in a file are read at once."""
    if segments and segments[-1].source is segment.source and segments[-1].stop == segment.start:
        segments[-1] = segments[-1]._replace(stop=segment.stop)
    else:
        segments.append(segment)


def _size(piece: _Piece) -> int:
    return sum(last - first for _, first, last in piece.segments)


def _reserve(handle: int, size: int) -> None:
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)
