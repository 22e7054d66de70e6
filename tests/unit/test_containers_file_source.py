"""Bytes of a file by range, and the watch on the file."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from lorry.errors import InvalidFile, NotFound
from lorry.ir.file_source import FileSource


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)))
    return path


def test_ranges(file: Path) -> None:
    source = FileSource.open(file)
    assert source.read(0, 3) == b"\0\1\2"
    assert source.read(254, 100) == b"\xfe\xff"
    assert source.read(300, 1) == b""


def test_a_short_file_is_said_so(file: Path) -> None:
    with pytest.raises(InvalidFile, match="4 bytes short"):
        FileSource.open(file).read_into(250, memoryview(bytearray(10)))


@pytest.mark.parametrize("change", ["truncate", "grow", "touch", "remove"])
def test_a_file_that_changed_is_not_read(file: Path, change: str) -> None:
    source = FileSource.open(file)
    match change:
        case "truncate":
            os.truncate(file, 100)
        case "grow":
            file.write_bytes(bytes(300))
        case "touch":
            os.utime(file, ns=(0, 0))
        case _:
            file.unlink()
    with pytest.raises(InvalidFile, match="open it again"):
        source.read(0, 4)


def test_two_looks_at_an_unchanged_file_are_equal(file: Path) -> None:
    assert FileSource.open(file) == FileSource.open(file)


def test_the_working_folder_may_change(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    source = FileSource.open(Path(file.name))
    monkeypatch.chdir("/")
    assert source.read(0, 1) == b"\0"


def test_thousands_of_open_files_need_no_descriptors(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = max(int(each.name) for each in Path("/dev/fd").iterdir())  # by whatever ran in this process before
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 32, hard))
    try:
        sources = [FileSource.open(file) for _ in range(2000)]
        assert all(source.read(7, 1) == b"\7" for source in sources)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_do_not_disturb_each_other(file: Path) -> None:
    source = FileSource.open(file)
    wrong: list[int] = []

    def read(at: int) -> None:
        wrong.extend(at for _ in range(50) if source.read(at, 1) != bytes([at]))

    threads = [threading.Thread(target=read, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        FileSource.open(tmp_path / "missing")
    with pytest.raises(InvalidFile, match="not a regular file"):
        FileSource.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidFile, match="not a regular file"):
        FileSource.open(tmp_path / "pipe")
