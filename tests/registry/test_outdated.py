"""What is used and could be newer, or should not be used any more, is told."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import LorryWarning, NotFound
from lorry_registry import Registry

from .helpers import publish_bytes

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def several(registry: Registry) -> Registry:
    for version in ("1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"):
        publish_bytes(registry.store, f"demo/cat@{version}", version.encode())
    return registry


def told(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, ["outdated", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def lock(registry: Registry, *references: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LorryWarning)
        registry.lock(references).write(Path("lorry.lock"))


@pytest.mark.parametrize(
    ("asked", "fits"),
    [("demo/cat@1.0.0", "1.0.0"), ("demo/cat@~1.0", "1.0.1"), ("demo/cat@^1.0", "1.1.0"), ("demo/cat", "2.0.0")],
)
def test_what_was_asked_for_decides_what_fits(asked: str, fits: str, registry: Registry) -> None:
    publish_bytes(registry.store, "demo/cat@1.0.0", b"1")
    lock(registry, asked)
    assert told() == []
    for version in ("1.0.1", "1.1.0", "2.0.0"):
        publish_bytes(registry.store, f"demo/cat@{version}", version.encode())
    assert told() == [{"reference": asked, "used": "1.0.0", "fits": fits, "newest": "2.0.0", "note": {}}]


def test_an_alias_that_moved_either_way_is_told(several: Registry) -> None:
    several.set_alias("demo/cat@best", "2.0.0")
    lock(several, "demo/cat@best")
    several.set_alias("demo/cat@best", "1.0.0")
    assert [each["fits"] for each in told()] == ["1.0.0"]


def test_a_digest_is_what_it_is(several: Registry) -> None:
    lock(several, f"demo/cat@sha256:{several.resolve('demo/cat@2.0.0').digest}")
    assert told() == []


def test_a_note_is_told_though_nothing_is_newer(several: Registry) -> None:
    lock(several, "demo/cat@2.0.0")
    several.yank("demo/cat@2.0.0", "dogs")
    assert told() == [
        {"reference": "demo/cat@2.0.0", "used": "2.0.0", "fits": "2.0.0", "newest": "1.1.0", "note": {"yanked": "dogs"}}
    ]
    printed = CliRunner().invoke(cli, ["outdated"]).stdout
    assert "2.0.0 (yanked)" in printed
    assert "yanked: dogs" in printed


def test_what_the_registry_has_not_is_told(several: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(several, "demo/cat")
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / "empty"))
    assert [(each["fits"], each["newest"]) for each in told()] == [(None, None)]


def test_without_a_lock_file_the_registry_is_held_beside_a_place(several: Registry, tmp_path: Path) -> None:
    ours = Registry(tmp_path / "ours")
    publish_bytes(ours.store, "demo/cat@2.0.0", b"2.0.0")
    publish_bytes(ours.store, "demo/mine@1.0.0", b"mine")

    def beside(place: str) -> Any:
        return [each._asdict() for each in ours.outdated(place=place)]

    assert beside(several.home.as_uri()) == []
    publish_bytes(several.store, "demo/cat@2.1.0", b"2.1.0")
    (found,) = beside(several.home.as_uri())
    assert (str(found["used"].version), str(found["newest"])) == ("2.0.0", "2.1.0")


@pytest.mark.usefixtures("several")
def test_a_place_that_has_none_of_it_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["outdated", (tmp_path / "nope").as_uri()])
    assert isinstance(result.exception, NotFound)
    assert re.search("nope has none of demo/cat; check the place", str(result.exception))


def test_people_are_told_that_all_is_well(several: Registry) -> None:
    result = CliRunner().invoke(cli, ["outdated"])
    assert (result.stdout, result.exit_code) == ("", 0)
    assert f"everything at {several.home} is up to date" in result.stderr
