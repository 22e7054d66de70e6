"""What clients wrote is kept by garbage collection, and checked; a crash leaves the commit before."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lorry_registry import Registry
from lorry_registry.hub.repository import Repository
from tests.support.hub_server import ALICE

from .calls import Client, commit, file, head, line, upload

LONG_AGO = time.time() - 24 * 3600


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_garbage_is_what_no_commit_holds(made: Client, home: Path, registry: Registry) -> None:
    upload(made, b"kept" * 1000)
    oid = hashlib.sha256(b"kept" * 1000).hexdigest()
    commit(made, line("lfsFile", path="w.bin", oid=oid), file("a.txt", b"old"))
    commit(made, file("a.txt", b"new"))
    upload(made, b"never committed" * 1000)
    age(home)
    assert [each.size for each in registry.gc() if each.what == "blob"] == [len(b"never committed") * 1000]
    assert made("GET", "/alice/cat/resolve/main/w.bin").body == b"kept" * 1000
    assert registry.fsck() == ()
    made("DELETE", "/api/repos/delete", {"name": "cat"}, token=ALICE)
    age(home)
    registry.gc()
    assert [path for path in registry.store.layout.blobs.rglob("*") if path.is_file()] == []


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["commits/*", "branches/main/1", "blob", "lost"])
def test_damage_is_found_and_nothing_is_collected_meanwhile(
    made: Client, home: Path, registry: Registry, what: str
) -> None:
    commit(made, file("a.txt", b"text"))
    written = home / "hub/repositories/alice/cat"
    if what == "blob":
        damage(registry.store.blobs.path(hashlib.sha256(b"text").hexdigest()), b"tex!")
    elif what == "lost":
        next(written.glob("commits/*")).unlink()
    else:
        damage(next(written.glob(what)), b"nonsense")
    assert len(registry.fsck()) == 1
    assert made("GET", "/alice/cat/resolve/main/a.txt").status == 500


def test_a_commit_survives_a_crash_before_its_branch_moved(
    made: Client, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = head(made)
    move: Callable[..., bool] = Repository.move

    def crash(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Repository, "move", crash)
    assert commit(made, file("a.txt")).status == 500
    monkeypatch.setattr(Repository, "move", move)
    assert head(made) == before
    assert registry.fsck() == ()
    assert commit(made, file("a.txt"), parent=before).status == 200
