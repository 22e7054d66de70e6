"""A tag publishes a version, where the commit holds one that passes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from lorry_registry import Registry
from tests.registry.helpers import write_lora
from tests.support.hub_server import ALICE

from .calls import REPOSITORY, Answer, Client, commit, file, head, line, upload


def tagged(call: Client, folder: Path, version: str, **wrong: Any) -> tuple[str, Answer]:
    """Commit what `lorry publish` makes of a version elsewhere, and tag it; return the commit and the answer."""
    other = Registry(folder / "elsewhere")
    adapter = write_lora(folder / "cat.safetensors")
    found = other.publish("alice/cat@1.0.0", [adapter])
    manifest = other.store.blobs.read(found.digest)
    data = adapter.read_bytes()
    upload(call, data)
    oid = hashlib.sha256(data).hexdigest()
    lines = {"cat.safetensors": line("lfsFile", path="cat.safetensors", oid=oid), "adapter.json": manifest, **wrong}
    sent = [each if each.startswith(b'{"key"') else file(path, each) for path, each in lines.items() if each]
    made = commit(call, *sent).json["commitOid"]
    return made, call("POST", f"{REPOSITORY}/tag/{made}", {"tag": f"v{version}"}, token=ALICE)


def test_a_tag_on_a_manifest_publishes_the_version(made: Client, registry: Registry, tmp_path: Path) -> None:
    at, answer = tagged(made, tmp_path, "1.0.0")
    assert answer.status == 200
    assert registry.verify("alice/cat@1.0.0").id.version == "1.0.0"
    assert registry.aliases("alice/cat") == {"latest": registry.versions("alice/cat")[0]}
    refs = made("GET", f"{REPOSITORY}/refs").json
    assert [each["targetCommit"] for each in refs["tags"]] == [at]
    assert head(made) == at
    assert made("POST", f"{REPOSITORY}/tag/main", {"tag": "v1.0.0"}, token=ALICE).status == 409
    for tag in ("v1.0.0", "V1.0.0"):
        assert made("DELETE", f"{REPOSITORY}/tag/{tag}", token=ALICE).status == 403
    for branch in ("main", "MAIN"):
        assert made("DELETE", f"{REPOSITORY}/branch/{branch}", token=ALICE).status == 403
    assert made("DELETE", "/api/repos/delete", {"name": "cat"}, token=ALICE).status == 403
    assert registry.fsck() == ()


def test_a_version_whose_tag_was_lost_gets_it_when_it_is_sent_again(
    made: Client, home: Path, registry: Registry, tmp_path: Path
) -> None:
    at, _ = tagged(made, tmp_path, "1.0.0")
    (home / "hub/repositories/alice/cat/tags/v1.0.0").unlink()
    assert made("POST", f"{REPOSITORY}/tag/{at}", {"tag": "v1.0.0"}, token=ALICE).status == 200
    assert [each["targetCommit"] for each in made("GET", f"{REPOSITORY}/refs").json["tags"]] == [at]
    assert len(registry.versions("alice/cat")) == 1


@pytest.mark.parametrize(
    ("version", "wrong", "why"),
    [
        ("2.0.0", {}, "would make it alice/cat@2.0.0"),
        ("1.0.0", {"adapter.json": b"{}"}, "not a manifest"),
        ("1.0.0", {"cat.safetensors": b""}, "does not have with those bytes"),
        ("1.0.0", {"cat.safetensors": b"other"}, "does not have with those bytes"),
    ],
)
def test_a_tag_that_would_publish_something_else_is_refused(
    made: Client, registry: Registry, tmp_path: Path, version: str, wrong: dict[str, bytes], why: str
) -> None:
    _, answer = tagged(made, tmp_path, version, **wrong)
    assert answer.status == 422
    assert why in answer.json["error"]
    assert registry.ls() == []
    assert made("GET", f"{REPOSITORY}/refs").json["tags"] == []


def test_a_pickle_is_kept_and_never_published(made: Client, registry: Registry, tmp_path: Path) -> None:

    other = Registry(tmp_path / "elsewhere")
    found = other.publish("alice/cat@1.0.0", [write_lora(tmp_path / "cat.safetensors")])
    torch.save({"a": torch.ones(1)}, tmp_path / "cat.pt")
    data = (tmp_path / "cat.pt").read_bytes()
    content = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    told = other.manifest(str(found.reference))
    manifest = told.model_copy(update={"files": (told.files[0].model_copy(update={"path": "cat.pt", **content}),)})
    upload(made, data)
    at = commit(made, file("adapter.json", manifest.to_bytes()), line("lfsFile", path="cat.pt", oid=content["sha256"]))
    assert at.status == 200
    answer = made("POST", f"{REPOSITORY}/tag/main", {"tag": "v1.0.0"}, token=ALICE)
    assert answer.status == 422
    assert "pickle" in answer.json["error"]
    assert registry.ls() == []


def test_main_follows_what_is_published_beside_it(made: Client, registry: Registry, tmp_path: Path) -> None:
    at, _ = tagged(made, tmp_path, "1.0.0")
    newer = write_lora(tmp_path / "newer.safetensors", seed=1)
    later = registry.publish("alice/cat@1.1.0", [newer]).digest[:40]
    assert head(made) == later
    edited = commit(made, file("notes.txt"), parent=later).json["commitOid"]
    assert head(made) == edited
    told = made("GET", f"{REPOSITORY}/commits/main").json
    assert [each["id"] for each in told] == [edited, later]
    files = {each["rfilename"] for each in made("GET", REPOSITORY).json["siblings"]}
    assert {"notes.txt", "newer.safetensors", "adapter.json"} <= files
    assert at != later


def test_a_repository_with_versions_takes_no_tag_of_another_adapter(
    made: Client, registry: Registry, lora: Path, tmp_path: Path
) -> None:
    registry.publish("alice/cat@1.0.0", [lora])
    foreign = Registry(tmp_path / "mine").publish("bob/dog@2.0.0", [lora])
    manifest = Registry(tmp_path / "mine").store.blobs.read(foreign.digest)
    made("POST", f"{REPOSITORY}/branch/side", {}, token=ALICE)
    at = commit(made, file("adapter.json", manifest), branch="side").json["commitOid"]
    answer = made("POST", f"{REPOSITORY}/tag/{at}", {"tag": "v2.0.0"}, token=ALICE)
    assert answer.status == 422
    assert "that of bob/dog@2.0.0" in answer.json["error"]


WEIGHTS = "cat.safetensors"


@pytest.mark.parametrize(
    "lines",
    [
        [file(WEIGHTS, b"other")],
        [file("pytorch_lora_weights.safetensors", b"other")],
        [file("more.safetensors", b"other")],
        [line("deletedFile", path=WEIGHTS)],
        [line("deletedFile", path="adapter.json")],
        [file("adapter.json", b"{}")],
    ],
    ids=["replaced", "for diffusers", "added", "deleted", "no manifest", "another manifest"],
)
def test_main_stays_a_version(made: Client, registry: Registry, lora: Path, lines: list[bytes]) -> None:
    registry.publish("alice/cat@1.0.0", [lora])
    before = head(made)
    answer = commit(made, *lines)
    assert answer.status in {409, 422}
    assert ("push a new version, or commit to another branch" in answer.json["error"]) is (answer.status == 409)
    assert head(made) == before
    assert made("POST", f"{REPOSITORY}/branch/side", {}, token=ALICE).status == 200
    assert commit(made, *lines, branch="side").status == 200
    assert commit(made, file("README.md", b"# cat"), file("image.png")).status == 200
    assert made("GET", f"/alice/cat/resolve/main/{WEIGHTS}").body == lora.read_bytes()


def test_main_shows_no_weights_that_were_put_over_a_version_before_it_was_one(
    made: Client, registry: Registry, tmp_path: Path
) -> None:
    adapter = write_lora(tmp_path / WEIGHTS)
    found = Registry(tmp_path / "elsewhere").publish("alice/cat@1.0.0", [adapter])
    manifest = Registry(tmp_path / "elsewhere").store.blobs.read(found.digest)
    upload(made, adapter.read_bytes())
    oid = hashlib.sha256(adapter.read_bytes()).hexdigest()
    first = commit(made, line("lfsFile", path=WEIGHTS, oid=oid), file("adapter.json", manifest)).json["commitOid"]
    assert commit(made, file(WEIGHTS, b"other")).status == 200
    assert made("POST", f"{REPOSITORY}/tag/{first}", {"tag": "v1.0.0"}, token=ALICE).status == 200
    assert head(made) == first
    assert registry.fsck() == ()


def test_a_tag_that_a_client_set_is_not_the_version_that_comes_later(
    made: Client, registry: Registry, lora: Path
) -> None:
    commit(made, file(WEIGHTS, b"other"))
    assert made("POST", f"{REPOSITORY}/tag/main", {"tag": "v1.0.0"}, token=ALICE).status == 200
    published = registry.publish("alice/cat@1.0.0", [lora]).digest[:40]
    assert made("GET", f"{REPOSITORY}/refs").json["tags"][0]["targetCommit"] == published
    assert made("GET", f"/alice/cat/resolve/v1.0.0/{WEIGHTS}").body == lora.read_bytes()
