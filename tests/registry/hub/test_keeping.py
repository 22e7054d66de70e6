"""What clients wrote is kept by garbage collection, and checked; a crash leaves the commit before."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from lorry_registry import Registry
from lorry_registry.hub.repository import Repository
from tests.support.hub_server import ALICE, hub_server

from .calls import REPOSITORY, Client, commit, file, head, line, upload

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


@pytest.mark.parametrize("what", ["commits/*", "branches/main/1", "repository.json", "blob", "lost"])
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
    answer = commit(made, file("a.txt"))
    assert (answer.status, answer.json["error"]) == (507, "No space left on device")
    monkeypatch.setattr(Repository, "move", move)
    assert head(made) == before
    assert registry.fsck() == ()
    assert commit(made, file("a.txt"), parent=before).status == 200


def test_an_upload_that_is_cut_off_leaves_nothing(made: Client, registry: Registry) -> None:
    told = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1_000_000}]}
    batch = made("POST", "/alice/cat.git/info/lfs/objects/batch", told, token=ALICE)
    path = batch.json["objects"][0]["actions"]["upload"]["href"].removeprefix(made.url)
    with socket.create_connection(("127.0.0.1", int(made.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode())
        connection.sendall(b"x" * 100_000)
        drafts = registry.store.layout.drafts
        assert eventually(lambda: any(each.stat().st_size for each in drafts.iterdir()))
    assert eventually(lambda: not list(drafts.iterdir()))


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_what_was_acknowledged_survives_kills(home: Path, registry: Registry) -> None:
    acknowledged: list[str] = []
    for _ in range(2):
        command = [sys.executable, "-m", "lorry", "serve-hub", "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            call = Client(told["endpoint"])
            call("POST", "/api/repos/create", {"name": "cat", "organization": "alice"}, token=told["token"])
            threading.Timer(0.3, process.kill).start()
            with suppress(OSError, HTTPException):
                while (answer := commit(call, file("a.txt", os.urandom(50)), token=told["token"])).status == 200:
                    acknowledged.append(answer.json["commitOid"])
    with hub_server(home) as hub:
        history = {each["id"] for each in Client(hub.url)("GET", f"{REPOSITORY}/commits/main").json}
    assert acknowledged
    assert set(acknowledged) <= history
    assert registry.fsck() == ()
