"""What is published shows as a repository: versions as tags, main as the latest, files that tools look for beside."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorry_plugins.backends.toybox import FOLDER
from lorry_registry import Registry
from tests.registry.helpers import publish_bytes, write_lora
from tests.support.hub_server import HubServer

from .calls import Client

LOADING = Path(__file__).with_name("loading.py")
ROOT = "pytorch_lora_weights.safetensors"


def publish(registry: Registry, folder: Path, *versions: str) -> dict[str, str]:
    """Publish versions of demo/cat with other weights each; return the id of the commit each is to be."""
    found = {}
    for seed, version in enumerate(versions):
        (folder / version).mkdir()
        file = write_lora(folder / version / "cat.safetensors", seed)
        found[f"v{version}"] = registry.publish(f"demo/cat@{version}", [file]).digest[:40]
    return found


def main(call: Client) -> Any:
    """Return the commit that main is at."""
    return call("GET", "/api/models/demo/cat/commits/main").json[0]


@pytest.fixture
def cat(registry: Registry, tmp_path: Path) -> dict[str, str]:
    return publish(registry, tmp_path, "1.0.0", "1.1.0", "2.0.0-rc.1")


def test_versions_are_tags_and_aliases_branches(call: Client, registry: Registry, cat: dict[str, str]) -> None:
    registry.set_alias("demo/cat@stable", "1.0.0")
    refs = call("GET", "/api/models/demo/cat/refs").json
    assert {each["name"]: each["targetCommit"] for each in refs["tags"]} == cat
    branches = {each["name"]: each["targetCommit"] for each in refs["branches"]}
    assert branches == {"main": main(call)["id"], "stable": cat["v1.0.0"]}
    assert main(call)["parents"] == [cat["v1.1.0"]]  # and says what the aliases are
    assert [each["id"] for each in call("GET", "/api/models?search=cat").json] == ["demo/cat"]


def test_a_version_has_its_files_its_manifest_a_card_and_what_diffusers_loads(
    call: Client, registry: Registry, cat: dict[str, str], tmp_path: Path
) -> None:
    info = call("GET", "/api/models/demo/cat?blobs=true").json
    files = {each["rfilename"] for each in info["siblings"]}
    assert info["sha"] == cat["v1.1.0"]
    assert {"README.md", "adapter.json", "cat.safetensors", ROOT} <= files
    manifest = call("GET", "/demo/cat/resolve/v1.1.0/adapter.json")
    assert hashlib.sha256(manifest.body).hexdigest() == registry.resolve("demo/cat@1.1.0").digest
    assert manifest.headers["x-repo-commit"] == cat["v1.1.0"]
    weights = call("GET", "/demo/cat/resolve/v1.0.0/cat.safetensors").body
    assert weights == (tmp_path / "1.0.0/cat.safetensors").read_bytes()


def test_a_number_means_its_tag_and_latest_the_newest(call: Client, registry: Registry, cat: dict[str, str]) -> None:
    def sha(revision: str) -> Any:
        return call("GET", f"/api/models/demo/cat/revision/{revision}").json["sha"]

    assert [sha(each) for each in ("1.0.0", "2.0.0-rc.1", "latest")] == [
        cat[f"v{each}"] for each in ("1.0.0", "2.0.0-rc.1", "1.1.0")
    ]
    registry.yank("demo/cat@1.1.0", "broken")
    assert sha("latest") == cat["v1.0.0"]


def test_a_revision_that_is_none_is_told_what_there_is(call: Client, cat: dict[str, str]) -> None:
    assert cat
    answer = call("GET", "/demo/cat/resolve/1.9.0/cat.safetensors")
    assert (answer.status, answer.headers["x-error-code"]) == (404, "RevisionNotFound")
    told = answer.headers["x-error-message"]
    assert told == "Invalid rev id: 1.9.0; demo/cat has main, v2.0.0-rc.1, v1.1.0, v1.0.0"


def test_a_yanked_version_is_no_longer_main(call: Client, registry: Registry, cat: dict[str, str]) -> None:
    registry.yank("demo/cat@1.1.0", "broken")
    assert main(call)["parents"] == [cat["v1.0.0"]]  # and says what is yanked
    assert call("GET", "/api/models/demo/cat/revision/v1.1.0").json["sha"] == cat["v1.1.0"]


def test_a_damaged_file_is_not_sent(call: Client, registry: Registry, cat: dict[str, str]) -> None:
    assert cat
    call("GET", "/api/models/demo/cat")
    blob = registry.store.blobs.path(registry.manifest("demo/cat@1.1.0").files[0].sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    answer = call("GET", "/demo/cat/resolve/main/cat.safetensors")
    assert answer.status == 500
    assert "damaged" in answer.headers["x-error-message"]


def test_what_was_made_for_a_version_is_kept_checked_and_made_again(
    call: Client, registry: Registry, cat: dict[str, str], home: Path
) -> None:
    assert cat
    card = call("GET", "/demo/cat/resolve/main/README.md").body
    blob = registry.store.blobs.path(hashlib.sha256(card).hexdigest())
    for path in home.rglob("*"):
        os.utime(path, (1, 1))
    registry.gc()
    assert call("GET", "/demo/cat/resolve/main/README.md").body == card
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    (fault,) = registry.fsck()
    assert "README.md, which is made again when" in fault.where
    for record in (home / "hub/versions").iterdir():
        record.unlink()
    assert call("GET", "/demo/cat/resolve/main/README.md").body == card
    blob.unlink()
    assert call("GET", "/demo/cat/resolve/main/README.md").body == card
    assert registry.fsck() == ()


def test_diffusers_loads_what_was_published_by_name_tag_and_commit(
    hub: HubServer, registry: Registry, tmp_path: Path
) -> None:
    commit = registry.publish("demo/raccoon@1.0.0", [FOLDER / "adapters/raccoon.safetensors"]).digest[:40]
    done = subprocess.run(
        [sys.executable, LOADING, "demo/raccoon", "", "v1.0.0", commit],
        env={**os.environ, **hub.environment(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(set(found["online"])) == 1
    assert found["offline"] == found["online"]
    assert found["filled"] == 2 * 106


def test_what_this_lorry_cannot_read_is_shown_as_it_is(call: Client, registry: Registry) -> None:
    publish_bytes(registry.store, "demo/odd@1.0.0", b"of a plugin that is not here")
    files = {each["rfilename"] for each in call("GET", "/api/models/demo/odd").json["siblings"]}
    assert files == {"README.md", "adapter.json", "data.bin"}
    assert call("GET", "/demo/odd/resolve/main/data.bin").body == b"of a plugin that is not here"
    assert b"cannot read" in call("GET", "/demo/odd/resolve/main/README.md").body


def test_one_damaged_adapter_is_not_in_the_way_of_the_others(
    call: Client, registry: Registry, cat: dict[str, str], home: Path
) -> None:
    assert cat
    publish_bytes(registry.store, "demo/bad@1.0.0", b"x")
    record = home / "names/demo/bad/versions/1.0.0"
    record.chmod(0o644)
    record.write_text("nonsense")
    told = {each["id"]: each["disabled"] for each in call("GET", "/api/models?full=true").json}
    assert told == {"demo/bad": True, "demo/cat": False}
    assert call("GET", "/api/models/demo/bad").status == 500
