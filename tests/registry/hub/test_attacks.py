"""What nobody may do through the server: leave a repository, fool it about bytes, use it up."""

from __future__ import annotations

import hashlib
import time

import pytest

from lorry_registry.hub import body_limit
from tests.support.hub_server import ALICE

from .calls import REPOSITORY, Client, commit, file, head, line


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a\\b", "C:x", "nul", "a\0b", "x" * 300, "a./b", "", "\u202ex",
     "a/../b", "con.txt"],
)  # fmt: skip
def test_no_path_leaves_the_repository_or_means_two_files(standing: Client, path: str) -> None:
    before = head(standing)
    assert commit(standing, file(path)).status == 400
    oid = hashlib.sha256(b"big").hexdigest()
    assert commit(standing, line("lfsFile", path=path, oid=oid, algo="sha256", size=3)).status == 400
    assert head(standing) == before


@pytest.mark.parametrize(("first", "second"), [("A.txt", "a.txt"), ("a", "a/b"), ("A/b", "a/B")])
def test_two_paths_that_are_one_on_some_disks_are_refused(standing: Client, first: str, second: str) -> None:
    assert commit(standing, file(first), file(second)).status == 400


@pytest.mark.parametrize(
    "body",
    [b"not json\n", b"[]\n", b'{"key": "file"}\n', b'{"key": "file", "value": 3}\n', line("file", path="a"),
     line("file", path="a", content="not base64!"), line("lfsFile", path="a", oid="../../etc/passwd"),
     line("lfsFile", path="a", oid="0" * 64), line("explode", path="a"), b"[" * 100_000 + b"\n"],
)  # fmt: skip
def test_what_is_no_commit_changes_nothing(standing: Client, body: bytes) -> None:
    before = head(standing)
    assert commit(standing, body).status == 400
    assert head(standing) == before


@pytest.mark.parametrize("name", ["..", ".git", "a--b", "a..b", "con", "-a", "a b", "x" * 100, "кот", "a/b"])
def test_no_name_that_could_mean_another_is_taken(standing: Client, name: str) -> None:
    for told in ({"name": name}, {"name": "dog", "organization": name}):
        assert standing("POST", "/api/repos/create", told, token=ALICE).status in {400, 403}
    assert [each["id"] for each in standing("GET", "/api/models").json] == ["alice/cat"]


def test_an_upload_needs_a_link_of_this_server(standing: Client) -> None:
    oid = hashlib.sha256(b"x").hexdigest()
    later = int(time.time()) + 1000
    assert standing("PUT", f"/lfs/whole/{oid}/1", b"x").status == 400
    forged = f"caller=alice&expires={later}&signature={'0' * 64}"
    assert standing("PUT", f"/lfs/whole/{oid}/1?{forged}", b"x", token=ALICE).status == 403


def test_requests_are_limited_whether_or_not_they_tell_their_length(
    standing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, huge = f"{REPOSITORY}/commit/main", {"Content-Length": str(10**12)}
    assert standing("POST", path, b"", token=ALICE, headers=huge).status == 413
    monkeypatch.setattr(body_limit, "LARGEST_COMMIT", 1000)
    assert standing("POST", path, (b"x" * 300 for _ in range(5)), token=ALICE).status == 413
    assert standing("POST", path, (b"x" * 300 for _ in range(3)), token=ALICE).status == 400


CARDS = {
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
    "python": "a: !!python/object/apply:os.system ['touch /tmp/never']",
    "unterminated": "a: [1",
    "list": "- a\n- b",
    "deep": "[" * 5000,
    "large": "a: " + "x" * 100_000,
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_that_is_no_plain_yaml_is_refused(standing: Client, card: str) -> None:
    answer = standing("POST", "/api/validate-yaml", {"content": f"---\n{card}\n---\n", "repoType": "model"})
    assert answer.status == 400
    assert answer.json["errors"]


def test_what_was_uploaded_is_never_a_page_of_this_server(standing: Client) -> None:
    commit(standing, file("a.html", b"<script>alert(1)</script>"))
    answer = standing("GET", "/alice/cat/resolve/main/a.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
