"""Files written piece by piece by two threads are what one thread would write byte by byte."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from lorry.errors import InvalidFile
from lorry.ir.file_sink import PIECE, write_file
from lorry.ir.tensor import Segment, TensorRef, from_bytes
from lorry.ir.watch import watched

BLOCK = 4096


class Counted:
    """A source whose every block tells where it stands, and which notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read_into(self, start: int, buffer: memoryview) -> None:
        self.asked.append((start, len(buffer)))
        stop = start + len(buffer)
        blocks = range(start // BLOCK, stop // BLOCK + 1)
        told = b"".join(bytes([block % 251]) * BLOCK for block in blocks)
        buffer[:] = told[start % BLOCK :][: stop - start]


def tensor(source: Counted, *shape: int) -> TensorRef:
    ref = TensorRef("U8", shape, ())
    return TensorRef("U8", shape, (Segment(source, 0, ref.nbytes),))


@pytest.mark.parametrize("direct", [True, False], ids=["past the cache", "through it"])
@pytest.mark.parametrize("more", [0, 1, 4089, BLOCK, 3 * PIECE + 5 * BLOCK])
def test_pieces_lie_end_to_end(more: int, direct: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not direct:
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    source, size = Counted(), PIECE - 7 + more
    small = [from_bytes("U8", (2,), b"ab"), from_bytes("U8", (0,), b""), from_bytes("U8", (), b"c")]
    write_file(tmp_path / "out", b"head", [*small, tensor(source, size), *small])
    assert max(length for _, length in source.asked) <= PIECE
    told = bytearray(size)
    Counted().read_into(0, memoryview(told))
    assert (tmp_path / "out").read_bytes() == b"headabc" + told + b"abc"


def test_nothing_but_a_head(tmp_path: Path) -> None:
    write_file(tmp_path / "out", b"head", [])
    assert (tmp_path / "out").read_bytes() == b"head"


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "out", b"head", [])
    assert (tmp_path / "out").read_text() == "precious"


class Broken:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read_into(self, start: int, buffer: memoryview) -> None:  # noqa: ARG002  the shape of a source
        raise self._error


@pytest.mark.parametrize("error", [InvalidFile("it ends too soon"), OSError(5, "Input/output error"), MemoryError()])
def test_an_error_in_a_thread_is_told_and_ends_both(tmp_path: Path, error: Exception) -> None:
    source = Counted()
    broken = TensorRef("U8", (PIECE,), (Segment(Broken(error), 0, PIECE),))
    before = threading.active_count()
    with pytest.raises(type(error)):
        write_file(tmp_path / "out", b"", [broken, *(tensor(source, PIECE) for _ in range(6))])
    assert threading.active_count() == before
    assert len(source.asked) < 6


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot take room beforehand")
def test_a_disk_too_full_is_told_before_anything_is_read(tmp_path: Path) -> None:
    source = Counted()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PIECE, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_file(tmp_path / "out", b"", [tensor(source, 2 * PIECE)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not source.asked


class Tally:
    """A watch that adds up what it is told."""

    def __init__(self) -> None:
        self.expected: list[int] = []
        self.done: list[int] = []

    def expect(self, size: int, /) -> None:
        self.expected.append(size)

    def advance(self, size: int, /) -> None:
        self.done.append(size)


def test_every_byte_is_seen_go_by(tmp_path: Path) -> None:
    size = 3 * PIECE + 5
    tally = Tally()
    with watched(tally):
        write_file(tmp_path / "watched", b"head", [tensor(Counted(), size - 4)])
    write_file(tmp_path / "unwatched", b"head", [])
    assert (tally.expected, sum(tally.done), max(tally.done)) == ([size], size, PIECE)
