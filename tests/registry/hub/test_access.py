"""Who may see and change what."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lorry_registry import Registry
from tests.support.hub_server import ALICE, BOB, hub_server

from .calls import REPOSITORY, Client, commit, file, line, upload


def test_private_repositories_are_not_there_for_others(call: Client) -> None:
    call("POST", "/api/repos/create", {"name": "cat", "visibility": "private"}, token=ALICE)
    commit(call, file("a.txt", b"secret"))
    paths = [REPOSITORY, f"{REPOSITORY}/refs", f"{REPOSITORY}/tree/main", "/alice/cat/resolve/main/a.txt"]
    for path in paths:
        missing = call("GET", path.replace("cat", "dog"), token=BOB)
        hidden = call("GET", path, token=BOB)
        assert (hidden.status, hidden.headers["x-error-code"]) == (404, "RepoNotFound")
        assert hidden.body == missing.body.replace(b"dog", b"cat")
        assert call("GET", path).status == 401
        assert call("GET", path, token="wrong").status == 401
        assert call("GET", path, token=ALICE).status == 200
    assert call("GET", "/api/models", token=BOB).json == []


def test_a_server_for_reading_changes_nothing(home: Path) -> None:
    with hub_server(home, read_only=True) as hub:
        call = Client(hub.url)
        assert call("POST", "/api/repos/create", {"name": "cat"}, token=ALICE).status == 403
        assert call("GET", "/api/models").json == []


def test_without_anonymous_reading_every_call_needs_a_token(home: Path, published: Registry) -> None:
    assert published
    with hub_server(home, anonymous=False) as hub:
        call = Client(hub.url)
        for path in ("/api/models", "/api/models/demo/cat", "/demo/cat/resolve/main/README.md"):
            assert call("GET", path).status == 401
            assert call("GET", path, token=BOB).status == 200


def test_a_name_that_is_not_this_machines_gets_no_answer(home: Path) -> None:
    with hub_server(home, hosts=("127.0.0.1", "localhost")) as hub:
        call = Client(hub.url)
        assert call("GET", "/api/models").status == 200
        assert call("GET", "/api/models", headers={"Host": "evil.example"}).status == 400


def test_knowing_a_hash_is_not_having_the_file(made: Client) -> None:
    made("PUT", f"{REPOSITORY}/settings", {"private": True}, token=ALICE)
    made("POST", "/api/repos/create", {"name": "dog"}, token=BOB)
    secret = b"secret" * 100
    assert upload(made, secret).status == 200
    oid = hashlib.sha256(secret).hexdigest()
    pointer = line("lfsFile", path="a.bin", oid=oid, algo="sha256")
    assert commit(made, pointer).status == 200
    stolen = made("POST", "/api/models/bob/dog/commit/main", pointer, token=BOB)
    assert stolen.status == 400
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(secret)}]}
    assert "actions" in made("POST", "/bob/dog.git/info/lfs/objects/batch", wanted, token=BOB).json["objects"][0]
    made("PUT", f"{REPOSITORY}/settings", {"private": False}, token=ALICE)
    assert made("POST", "/api/models/bob/dog/commit/main", pointer, token=BOB).status == 200
