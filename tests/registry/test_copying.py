"""Copying a file into the registry: by the system where it can, and never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lorry.errors import InvalidFile, NotFound
from lorry_registry.home.blobs import Content, duplicate, measure

DATA = bytes(range(256)) * 9_000

by_the_system = pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="this system has no copy_file_range")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


def refused(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_copy_has_the_same_bytes(source: Path, tmp_path: Path) -> None:
    duplicate(source, tmp_path / "copy", 0o444)
    assert (tmp_path / "copy").read_bytes() == DATA
    assert measure(tmp_path / "copy") == Content(measure(source).sha256, len(DATA))


@by_the_system
@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_where_the_system_cannot_copy_we_do(
    number: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", refused(number))
    duplicate(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA


@by_the_system
def test_a_disk_that_fails_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", refused(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        duplicate(source, tmp_path / "copy")


@by_the_system
def test_a_copy_that_ends_early_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)  # as for a file that was shortened, or a system's lie
    with pytest.raises(InvalidFile, match="changed while it was copied"):
        duplicate(source, tmp_path / "copy")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        duplicate(tmp_path / "none", tmp_path / "copy")
    with pytest.raises(InvalidFile):
        duplicate(tmp_path, tmp_path / "copy")
