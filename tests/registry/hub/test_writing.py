"""Commits: of many on one parent exactly one goes in, and what is sent is what is kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lorry_registry import Registry
from tests.support.hub_server import ALICE, hub_server

from .calls import REPOSITORY, Client, commit, file, head, line, upload


def test_bytes_that_are_not_the_announced_ones_are_not_kept(made: Client, registry: Registry) -> None:
    data = b"weights" * 1000
    oid = hashlib.sha256(data).hexdigest()
    for wrong in (data[:-1] + b"!", data[:-1], data + b"!", b""):
        assert upload(made, data, wrong).status == 422
    assert not registry.store.blobs.path(oid).exists()
    assert list(registry.store.layout.drafts.iterdir()) == []
    assert commit(made, line("lfsFile", path="w.bin", oid=oid, algo="sha256", size=len(data))).status == 400
    assert upload(made, data).status == 200
    assert commit(made, line("lfsFile", path="w.bin", oid=oid, algo="sha256", size=len(data))).status == 200


def test_a_branch_with_a_slash_is_refused_by_name(made: Client) -> None:
    for method, path in (("POST", "branch"), ("DELETE", "branch"), ("DELETE", "tag")):
        refused = made(method, f"{REPOSITORY}/{path}/feature%2Fcat", token=ALICE)
        assert (refused.status, "revision 'feature/cat' is not valid" in refused.json["error"]) == (400, True)
    refused = commit(made, file("a.txt"), branch="feature%2Fcat")
    assert (refused.status, "revision 'feature/cat' is not valid" in refused.json["error"]) == (400, True)


def test_a_revision_with_a_slash_is_one_that_is_not_there(made: Client) -> None:
    for path in ("revision/feature%2Fcat", "commits/refs%2Fpr%2F1"):
        missing = made("GET", f"{REPOSITORY}/{path}")
        assert (missing.status, missing.headers["x-error-code"]) == (404, "RevisionNotFound")


def test_of_sixteen_commits_on_one_parent_exactly_one_goes_in(made: Client) -> None:
    parent, found = head(made), list[int]()

    def race(number: int) -> None:
        found.append(commit(made, file("a.txt", b"%d" % number), parent=parent).status)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    assert sorted(found) == [200, *[412] * 15]
    assert len(made("GET", f"{REPOSITORY}/commits/main").json) == 2


def test_commits_without_a_parent_all_go_in(made: Client) -> None:
    racers = [threading.Thread(target=commit, args=(made, file(f"{number}.txt"))) for number in range(8)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    assert len(made("GET", REPOSITORY).json["siblings"]) == 8


def test_two_servers_share_one_home(made: Client, home: Path) -> None:
    with hub_server(home) as second:
        other = Client(second.url)
        parent = head(made)
        assert commit(made, file("a.txt"), parent=parent).status == 200
        assert head(other) == head(made) != parent
        assert commit(other, file("b.txt"), parent=parent).status == 412
        assert commit(other, file("b.txt")).status == 200
        assert head(other) == head(made)


@pytest.mark.parametrize(
    ("wanted", "status", "got"),
    [("bytes=0-3", 206, b"0123"), ("bytes=6-", 206, b"6789"), ("bytes=-2", 206, b"89"), ("bytes=10-", 416, None)],
)
def test_ranges(made: Client, wanted: str, status: int, got: bytes | None) -> None:
    commit(made, file("a.txt", b"0123456789"))
    answer = made("GET", "/alice/cat/resolve/main/a.txt", headers={"Range": wanted})
    assert answer.status == status
    assert got is None or answer.body == got


def test_uploads_by_xet(home: Path, registry: Registry, tmp_path: Path) -> None:
    code = """
import os, sys, huggingface_hub as hub
api = hub.HfApi()
api.create_repo("alice/cat")
data = os.urandom(3 << 20)
open(sys.argv[1], "wb").write(data)
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="a.safetensors", repo_id="alice/cat")
open(sys.argv[1], "ab").write(b"more")
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="a.safetensors", repo_id="alice/cat")
got = hub.hf_hub_download("alice/cat", "a.safetensors")
assert open(got, "rb").read() == data + b"more"
"""
    pytest.importorskip("hf_xet")
    with hub_server(home, xet=True) as hub:
        told = {**os.environ, **hub.environment(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "a"], env=told, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert not any(each.path.startswith("/lfs/") for each in hub.seen)
    assert registry.fsck() == ()
    assert list(registry.store.layout.drafts.iterdir()) == []
