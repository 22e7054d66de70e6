"""What is known of a file holds for as long as the file stays what it is, and never longer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lorry.ops.disk.hashes import hash_file, known_hashes
from lorry.ops.disk.known import known


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cat.safetensors"
    path.write_bytes(b"cat")
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass: nobody can set a file's time of change back."""
    now = time.time_ns
    monkeypatch.setattr("lorry.ops.disk.known.time.time_ns", lambda: now() + 3600 * 10**9)


def rewritten(path: Path) -> None:
    path.write_bytes(b"dog")


def rewritten_with_its_old_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"dog")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(b"dog")
    other.replace(path)


@pytest.mark.usefixtures("later")
def test_a_file_that_stays_is_read_once(file: Path) -> None:
    assert known(file, "text", file.read_text) == "cat"
    assert known(file, "text", lambda: "not read again") == "cat"
    assert known(file, "length", lambda: "3") == "3"


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_old_time, replaced], ids=lambda each: each.__name__)
def test_a_file_that_changes_is_read_again(file: Path, change: Callable[[Path], None]) -> None:
    known(file, "text", file.read_text)
    change(file)
    assert known(file, "text", file.read_text) == "dog"


@pytest.mark.usefixtures("later")
def test_what_changes_while_it_is_read_is_not_kept(file: Path) -> None:
    def read() -> str:
        told = file.read_text()
        rewritten(file)
        return told

    assert known(file, "text", read) == "cat"
    assert known(file, "text", file.read_text) == "dog"


def test_what_changed_a_moment_ago_is_not_kept(file: Path) -> None:
    known(file, "text", lambda: "first")
    assert known(file, "text", lambda: "second") == "second"


@pytest.mark.usefixtures("later")
def test_an_empty_setting_keeps_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORRY_CACHE", "")
    known(file, "text", lambda: "first")
    assert known(file, "text", lambda: "second") == "second"


@pytest.mark.usefixtures("later")
def test_a_broken_cache_only_means_that_files_are_read(file: Path) -> None:
    known(file, "text", file.read_text)
    (cache,) = Path(os.environ["LORRY_CACHE"]).glob("*.sqlite")
    cache.write_bytes(b"no database" * 1000)
    assert known(file, "text", lambda: "read") == "read"


@pytest.mark.usefixtures("later")
def test_a_cache_that_cannot_be_made_only_means_that_files_are_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORRY_CACHE", str(file))
    known(file, "text", lambda: "first")
    assert known(file, "text", lambda: "second") == "second"


@pytest.mark.usefixtures("later")
def test_known_hashes_are_the_hashes(file: Path) -> None:
    assert known_hashes(file) == hash_file(file) == known_hashes(file)
