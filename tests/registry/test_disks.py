"""Disks that lack something (FAT, some network disks) hold a registry all the same."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lorry
from lorry.errors import Conflict
from lorry_registry import Registry
from lorry_registry.disk import durable

from .helpers import publish_bytes, write_lora


@pytest.fixture(params=sorted([errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS]), ids=errno.errorcode.get)
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT, exFAT and SMB shares answer: each system has its own number for it."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("no_links")
def test_a_disk_without_hard_links_holds_a_registry(registry: Registry, lora: Path, tmp_path: Path) -> None:
    registry.publish("demo/cat@1.0.0", [lora])
    assert registry.publish("demo/cat@1.0.0", [lora]) == registry.resolve("demo/cat")
    with pytest.raises(Conflict, match="exists with other content"):
        registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "other.safetensors", seed=2)])
    assert lorry.open(registry.pull("demo/cat", tmp_path / "out")).layers
    registry.yank("demo/cat@1.0.0")
    registry.unyank("demo/cat@1.0.0")
    place = (tmp_path / "shared").as_uri()
    assert registry.push("demo/cat", place)
    assert Registry(tmp_path / "elsewhere").clone(f"{place}#demo/cat").new
    assert (registry.fsck(), registry.gc(grace=-60)) == ((), ())


@pytest.mark.usefixtures("no_links")
def test_a_reference_is_read_from_a_copy_that_is_checked_each_time(registry: Registry, lora: Path) -> None:
    registry.publish("demo/cat@1.0.0", [lora])
    (path,) = (frame.path for frame in lorry.open("demo/cat").origin)
    path.chmod(0o644)
    path.write_bytes(b"something else")
    assert lorry.open("demo/cat").layers
    assert path.read_bytes() == lora.read_bytes()


@pytest.mark.usefixtures("no_links")
def test_of_sixteen_publishers_one_is_first(registry: Registry) -> None:
    barrier = threading.Barrier(16)

    def publish(number: int) -> bool:
        barrier.wait()
        try:
            return publish_bytes(Registry(registry.home).store, "demo/cat@1.0.0", str(number).encode())
        except Conflict:
            return False

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(publish, range(16)))
    assert won.count(True) == 1
    (file,) = registry.manifest("demo/cat").files
    assert registry.store.blobs.read(file.sha256) == str(won.index(True)).encode()


@pytest.mark.usefixtures("no_links")
def test_a_home_whose_maker_died_at_it_is_made_by_the_next(
    home: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            Registry(home).store.layout.prepare()
    assert durable.is_claim(home / "FORMAT")
    assert Registry(home).publish("demo/cat@1.0.0", [lora])
    assert (home / "FORMAT").read_text().strip()


def test_a_disk_that_cannot_lock_is_listed_all_the_same(published: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def refuse(path: Path, timeout: float = 5) -> sqlite3.Connection:
        if str(path) != ":memory:":
            raise sqlite3.OperationalError("disk I/O error")
        return connect(path, timeout=timeout)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert [str(each.reference) for each in published.search("cat")] == ["demo/cat@1.0.0"]
