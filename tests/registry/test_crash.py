"""What goes wrong while publishing is told as it is; `tests/reliability` does worse, and at every step."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lorry.errors import LorryError
from lorry_registry import PublishIncomplete, Registry
from lorry_registry.home.records import Records
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Alias
from lorry_registry.references.semver import Version

from .helpers import publish_bytes, write_lora

posix = pytest.mark.skipif(os.name == "nt", reason="needs fork and signals")


def test_a_publish_that_comes_between_is_not_hidden_by_latest(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Records.move
    others = iter(["1.1.0"])

    def move_late(records: Records, alias: Alias, version: Version) -> bool:
        for other in others:  # once: after this publish has looked for the highest version, before it writes
            publish_bytes(registry.store, f"demo/cat@{other}", other.encode())
        return move(records, alias, version)

    monkeypatch.setattr(Records, "move", move_late)
    publish_bytes(registry.store, "demo/cat@1.0.0", b"1.0.0")
    assert registry.aliases("demo/cat") == {"latest": Version(1, 1, 0)}


@posix
@pytest.mark.parametrize("room", [0, 100, 1_000, 30_000])
def test_a_disk_that_is_full_leaves_nothing_published(registry: Registry, home: Path, room: int) -> None:
    import resource

    publish_bytes(registry.store, "demo/cat@1.0.0", b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))  # a write beyond it fails, as on a full disk
    try:
        with pytest.raises((LorryError, OSError)):
            publish_bytes(registry.store, "demo/cat@1.1.0", bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert registry.versions("demo/cat") == (Version(1, 0, 0),)
    assert list((home / "tmp").iterdir()) == []
    publish_bytes(registry.store, "demo/cat@1.1.0", bytes(50_000))
    registry.verify("demo/cat@1.1.0")


@posix
def test_a_full_disk_is_told_as_an_error_of_lorry(registry: Registry, tmp_path: Path) -> None:
    import resource

    lora = write_lora(tmp_path / "cat.safetensors")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(
            LorryError, match=r"demo/cat@1\.0\.0 was not published, nothing is changed: File too large.*; mend that"
        ):
            registry.publish("demo/cat@1.0.0", [lora])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("alias", ["latest", "champion"])
def test_an_alias_that_fails_is_told_after_the_version_stands(
    published: Registry, home: Path, tmp_path: Path, alias: str
) -> None:
    blocked = home / "names" / "demo" / "cat" / "aliases" / alias
    blocked.unlink(missing_ok=True)
    (blocked / "a folder in its place").mkdir(parents=True)
    other = write_lora(tmp_path / "cat2.safetensors", seed=2)
    with pytest.raises(PublishIncomplete, match=rf"published demo/cat@1\.1\.0, alias {alias} not moved"):
        published.publish("demo/cat@1.1.0", [other], aliases=["champion"])
    published.verify("demo/cat@1.1.0")
    (blocked / "a folder in its place").rmdir()
    blocked.rmdir()
    published.publish("demo/cat@1.1.0", [other], aliases=["champion"])
    assert set(published.aliases("demo/cat").items()) == {("latest", Version(1, 1, 0)), ("champion", Version(1, 1, 0))}


def test_a_log_that_fails_is_told_after_the_version_stands(published: Registry, home: Path, tmp_path: Path) -> None:
    log = home / "names" / "demo" / "cat" / "log.jsonl"
    log.unlink()
    log.mkdir()
    other = write_lora(tmp_path / "cat2.safetensors", seed=2)
    with pytest.raises(PublishIncomplete, match=r"published demo/cat@1\.1\.0, not logged"):
        published.publish("demo/cat@1.1.0", [other])
    log.rmdir()
    published.publish("demo/cat@1.1.0", [other])
    assert set(published.store.records(published.resolve("demo/cat").reference).log.published()) == {"1.1.0"}


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk such as FAT: link(2) is refused."""

    def link(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_hard_links")
def test_without_hard_links_everything_works_too(registry: Registry, home: Path, tmp_path: Path) -> None:
    import lorry

    lora = write_lora(tmp_path / "cat.safetensors")
    registry.publish("demo/cat@1.0.0", [lora])
    assert [path.read_bytes() for path in registry.pull("demo/cat", tmp_path / "out")] == [lora.read_bytes()]
    assert lorry.open("demo/cat").kinds == ("lora",)
    assert list((home / "tmp").iterdir()) == []


@pytest.mark.usefixtures("no_hard_links")
def test_without_hard_links_exactly_one_wins_too(home: Path) -> None:
    outcomes: list[str] = []

    def publish(number: int) -> None:
        try:
            publish_bytes(LocalStore(home), "demo/race@1.0.0", bytes([number]) * 1000)
            outcomes.append("won")
        except LorryError as error:
            outcomes.append(type(error).__name__)

    LocalStore(home).layout.prepare()
    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [*["Conflict"] * 7, "won"]
    Registry(home).verify("demo/race@1.0.0")


def test_a_claim_that_a_crash_left_is_no_version_and_says_what_to_do(registry: Registry, home: Path) -> None:
    publish_bytes(registry.store, "demo/cat@1.0.0", b"one")
    claim = home / "names" / "demo" / "cat" / "versions" / "2.0.0"
    claim.touch()
    assert registry.versions("demo/cat") == (Version(1, 0, 0),)
    assert [str(entry.reference) for entry in registry.ls()] == ["demo/cat@1.0.0"]
    with pytest.raises(LorryError, match=rf"delete {claim} and publish again"):
        publish_bytes(registry.store, "demo/cat@2.0.0", b"two")
    claim.unlink()
    assert publish_bytes(registry.store, "demo/cat@2.0.0", b"two")
