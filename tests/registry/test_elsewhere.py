"""Versions elsewhere: what is damaged there is told, and what is damaged here is mended from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import NotFound, VerificationFailed
from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture(params=["file", "oci"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of each kind: one that all adapters share, and one with a room for each."""
    if request.param == "file":
        return (tmp_path / "shared").as_uri()
    monkeypatch.setattr("lorry_registry.remotes.oci.remote.sleep", lambda _: None)
    return f"oci://{request.getfixturevalue('oci_strict')}/elsewhere-{abs(hash(str(tmp_path)))}"


def blob(registry: Registry, adapter: str = "demo/cat") -> Path:
    return registry.store.blobs.path(registry.manifest(adapter).files[0].sha256)


def harm(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    shutil.rmtree(path.parents[3] / "views", ignore_errors=True)  # where intact bytes are found too
    if how != "gone":
        path.write_bytes({"flipped": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "grown": data + b"x"}[how])


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code == 0) == (code == 0), result.output
    return result.stdout


def test_what_holds_elsewhere_is_told_and_nothing_is_brought(
    published: Registry, elsewhere: Registry, place: str
) -> None:
    published.push("demo/cat", place)
    manifest = published.manifest("demo/cat")
    for reference in ("demo/cat", "demo/cat@1.0.0", "demo/cat@^1", f"demo/cat@sha256:{manifest.digest()}"):
        assert elsewhere.verify(reference, at=place) == manifest
    assert elsewhere.ls() == []
    with pytest.raises(NotFound):
        elsewhere.verify("demo/dog", at=place)


@pytest.mark.parametrize(
    ("how", "what"), [("flipped", "are not sha256"), ("cut", "bytes, not"), ("grown", "more than"), ("gone", "missing")]
)
def test_what_is_damaged_elsewhere_is_named(
    how: str, what: str, published: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    place = (tmp_path / "shared").as_uri()
    published.push("demo/cat", place)
    harm(blob(Registry(tmp_path / "shared")), how)
    with pytest.raises(VerificationFailed, match=rf"demo/cat@1.0.0 is damaged there: cat.safetensors: .*{what}"):
        elsewhere.verify("demo/cat", at=place)


def test_a_damaged_manifest_elsewhere_is_named(published: Registry, tmp_path: Path) -> None:
    place = (tmp_path / "shared").as_uri()
    published.push("demo/cat", place)
    harm(Registry(tmp_path / "shared").store.blobs.path(published.resolve("demo/cat").digest), "flipped")
    with pytest.raises(VerificationFailed, match="the manifest there is damaged"):
        published.verify("demo/cat", at=place)


def test_another_version_of_that_name_elsewhere_is_named(
    published: Registry, elsewhere: Registry, place: str, tmp_path: Path
) -> None:
    published.push("demo/cat", place)
    elsewhere.publish("demo/cat@1.0.0", [write_lora(tmp_path / "other.safetensors", seed=3)])
    with pytest.raises(VerificationFailed, match="one of them was replaced"):
        elsewhere.verify("demo/cat", at=place)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("what", ["file", "manifest", "both"])
def test_what_is_damaged_here_is_mended_from_elsewhere(
    how: str, what: str, published: Registry, place: str, tmp_path: Path
) -> None:
    published.publish("demo/dog@1.0.0", [write_lora(tmp_path / "dog.safetensors", seed=5)])
    for adapter in ("demo/cat", "demo/dog"):
        published.push(adapter, place)
        files = [blob(published, adapter), published.store.blobs.path(published.resolve(adapter).digest)]
        for path in {"file": files[:1], "manifest": files[1:], "both": files}[what]:
            harm(path, how)
    faults = published.fsck()
    assert len(faults) == 2
    mended = published.repair(faults, [place])
    assert set(faults) <= set(mended)
    assert published.fsck() == ()
    assert published.verify("demo/cat")
    assert published.verify("demo/dog")


def test_what_is_damaged_on_both_sides_stays(published: Registry, tmp_path: Path) -> None:
    place = (tmp_path / "shared").as_uri()
    published.push("demo/cat", place)
    harm(blob(Registry(tmp_path / "shared")), "flipped")
    harm(blob(published), "gone")
    assert published.repair(published.fsck(), [place]) == ()
    assert len(published.fsck()) == 1


def test_a_place_that_lacks_it_mends_nothing(published: Registry, place: str) -> None:
    harm(blob(published), "gone")
    assert published.repair(published.fsck(), [place]) == ()


def test_the_commands_do_the_same(published: Registry, place: str) -> None:
    published.push("demo/cat", place)
    assert f"demo/cat@1.0.0 is intact at {place}" in run("verify", "demo/cat", "--remote", place)
    told = json.loads(run("verify", "demo/cat", "--remote", place, "--json"))
    assert told["manifest"] == published.resolve("demo/cat").digest
    run("verify", "demo/cat", "--remote", place, "--replay", code=2)
    harm(blob(published), "flipped")
    run("fsck", code=8)
    assert "is intact" in run("fsck", "--repair", "--from", place)
    run("fsck", "--from", "missing-folder", code=3)
