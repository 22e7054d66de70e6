from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import InvalidArgument, NotFound
from lorry_registry import Registry
from lorry_registry.references.semver import Version

from .helpers import publish_bytes


@pytest.fixture
def several(registry: Registry) -> Registry:
    for version in ("1.0.0", "1.2.0", "1.2.5", "2.0.0", "2.1.0-rc.1"):
        publish_bytes(registry.store, f"demo/cat@{version}", version.encode())
    registry.set_alias("demo/cat@stable", "1.2.0")
    return registry


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("demo/cat", "2.0.0"),
        ("demo/cat@latest", "2.0.0"),
        ("demo/cat@stable", "1.2.0"),
        ("demo/cat@1.2.5", "1.2.5"),
        ("demo/cat@1", "1.2.5"),
        ("demo/cat@1.2", "1.2.5"),
        ("demo/cat@~1.2.1", "1.2.5"),
        ("demo/cat@^1.0", "1.2.5"),
        ("Demo/Cat@2.1.0-RC.1", "2.1.0-rc.1"),
    ],
)
def test_a_reference_finds_its_version(several: Registry, reference: str, version: str) -> None:
    assert several.resolve(reference).reference.exact() == Version.parse(version)


def test_the_first_digits_of_the_manifest_find_it(several: Registry) -> None:
    found = several.resolve("demo/cat@1.2.0")
    assert several.resolve(f"demo/cat@sha256:{found.digest[:12]}") == found


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("demo/cta", "did you mean demo/cat"),
        ("other/thing", "lorry ls lists what there is"),
        ("demo/cat@3.0.0", r"no version 3\.0\.0; it has 2\.1\.0-rc\.1, 2\.0\.0, 1\.2\.5"),
        ("demo/cat@^3", r"no version \^3"),
        ("demo/cat@best", "no alias best; aliases: latest, stable"),
        ("demo/cat@sha256:000000000000", "no version sha256:000000000000"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(several: Registry, reference: str, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        several.resolve(reference)


def test_an_alias_moves_and_the_log_remembers(several: Registry) -> None:
    assert several.set_alias("demo/cat@stable", "1.2.5") is True
    assert several.set_alias("demo/cat@stable", "1.2.5") is False
    assert several.resolve("demo/cat@stable").reference.exact() == Version(1, 2, 5)
    moves = [
        (entry["before"], entry["after"])
        for entry in several.store.records(several.resolve("demo/cat").reference).log.history()
        if entry.get("alias") == "stable"
    ]
    assert moves == [(None, "1.2.0"), ("1.2.0", "1.2.5")]


def test_an_alias_points_at_what_is_published_only(several: Registry) -> None:
    with pytest.raises(NotFound):
        several.set_alias("demo/cat@stable", "9.0.0")
    with pytest.raises(InvalidArgument, match="names no alias"):
        several.set_alias("demo/cat@1.0.0", "1.2.0")
    assert several.resolve("demo/cat@stable").reference.exact() == Version(1, 2, 0)


def test_latest_is_moved_by_nobody(several: Registry, lora: Path) -> None:
    for refused in (
        lambda: several.set_alias("demo/cat@latest", "1.2.0"),
        lambda: several.drop_alias("demo/cat@latest"),
        lambda: several.publish("demo/cat@3.0.0", [lora], aliases=["latest"]),
    ):
        with pytest.raises(InvalidArgument, match="latest is the highest stable version .* moves by itself"):
            refused()
    assert several.resolve("demo/cat").reference.exact() == Version(2, 0, 0)


def test_an_alias_that_is_forgotten_stays_in_the_log(several: Registry) -> None:
    assert several.drop_alias("demo/cat@stable") == Version(1, 2, 0)
    assert set(several.aliases("demo/cat")) == {"latest"}
    last = several.store.records(several.resolve("demo/cat").reference).log.history()[-1]
    assert (last["alias"], last["before"], last["after"]) == ("stable", "1.2.0", None)
    with pytest.raises(NotFound, match="no alias stable; aliases: latest"):
        several.drop_alias("demo/cat@stable")
    with pytest.raises(InvalidArgument, match="names no alias"):
        several.drop_alias("demo/cat@1.2.0")


def test_what_a_system_leaves_in_the_folders_is_no_version(several: Registry, home: Path) -> None:
    folder = home / "names" / "demo" / "cat"
    for stray in (folder / "versions" / ".DS_Store", folder / "aliases" / ".nfs0001", home / "names" / "Thumbs.db"):
        stray.write_bytes(b"\0")
    assert len(several.versions("demo/cat")) == 5
    assert set(several.aliases("demo/cat")) == {"latest", "stable"}
    assert [entry.reference.exact() for entry in several.ls()] == list(several.versions("demo/cat"))


def test_an_empty_registry_is_empty_and_stays_unmade(registry: Registry, home: Path) -> None:
    assert registry.ls() == []
    with pytest.raises(NotFound):
        registry.resolve("demo/cat")
    assert not home.exists()
