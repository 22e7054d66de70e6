"""What is said of versions travels with them, and can be said in a place alone."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import InvalidArgument, LorryWarning, NotFound, VerificationFailed
from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture
def place(tmp_path: Path) -> str:
    return (tmp_path / "shared").as_uri()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """Another machine's registry."""
    return Registry(tmp_path / "elsewhere")


@pytest.fixture
def several(published: Registry, tmp_path: Path) -> Registry:
    """A registry with demo/cat 1.0.0 and 1.1.0."""
    published.publish("demo/cat@1.1.0", [write_lora(tmp_path / "b.safetensors", seed=1)])
    return published


def pushed(registry: Registry, place: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LorryWarning)
        for version in registry.versions("demo/cat"):
            registry.push(f"demo/cat@{version}", place)


def cloned(registry: Registry, address: str) -> str:
    """Clone without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LorryWarning)
        return str(registry.clone(address).reference.selector)


def test_a_yank_travels_there_and_back(several: Registry, elsewhere: Registry, place: str) -> None:
    several.yank("demo/cat@1.1.0", "drew only dogs")
    pushed(several, place)
    for selector in ("", "@^1", "@latest"):
        assert cloned(elsewhere, f"{place}#demo/cat{selector}") == "1.0.0"
    with pytest.warns(LorryWarning, match=r"demo/cat@1\.1\.0 is yanked: drew only dogs"):
        assert elsewhere.clone(f"{place}#demo/cat@1.1.0").new
    assert str(elsewhere.resolve("demo/cat").reference) == "demo/cat@1.0.0"
    assert elsewhere.note("demo/cat@1.1.0").yanked == "drew only dogs"


def test_what_was_yanked_later_arrives_with_the_next_push_and_clone(
    several: Registry, elsewhere: Registry, place: str
) -> None:
    pushed(several, place)
    assert cloned(elsewhere, f"{place}#demo/cat") == "1.1.0"
    several.yank("demo/cat@1.1.0", "dogs")
    pushed(several, place)
    assert cloned(elsewhere, f"{place}#demo/cat") == "1.0.0"
    with pytest.warns(LorryWarning, match="dogs"):
        assert not elsewhere.clone(f"{place}#demo/cat@1.1.0").new
    assert str(elsewhere.resolve("demo/cat").reference) == "demo/cat@1.0.0"


def test_who_knows_nothing_of_a_yank_does_not_take_it_back(several: Registry, elsewhere: Registry, place: str) -> None:
    pushed(several, place)
    elsewhere.clone(f"{place}#demo/cat@1.1.0")
    several.yank("demo/cat@1.1.0", "dogs", at=place)
    elsewhere.deprecate("demo/cat@1.1.0", "old")
    pushed(elsewhere, place)
    with pytest.warns(LorryWarning, match="yanked: dogs; deprecated: old"):
        several.clone(f"{place}#demo/cat@1.1.0")


def test_a_note_is_said_and_taken_back_in_a_place_alone(several: Registry, elsewhere: Registry, place: str) -> None:
    pushed(several, place)
    assert several.yank("demo/cat@1.1.0", at=place) is True
    assert several.yank("demo/cat@1.1.0", at=place) is False
    assert several.note("demo/cat@1.1.0").warns is False
    assert cloned(elsewhere, f"{place}#demo/cat") == "1.0.0"
    assert several.unyank("demo/cat@1.1.0", at=place) is True
    assert several.unyank("demo/cat@1.1.0", at=place) is False
    assert cloned(elsewhere, f"{place}#demo/cat@latest") == "1.1.0"
    several.deprecate("demo/cat@1.1.0", "old", replaced_by="demo/dog", at=place)
    with pytest.warns(LorryWarning, match="deprecated: old; use demo/dog instead"):
        elsewhere.clone(f"{place}#demo/cat")
    assert several.undeprecate("demo/cat@1.1.0", at=place) is True


def test_where_all_are_yanked_only_a_number_finds_one(several: Registry, elsewhere: Registry, place: str) -> None:
    pushed(several, place)
    for version in ("1.0.0", "1.1.0"):
        several.yank(f"demo/cat@{version}", at=place)
    with pytest.raises(NotFound, match=r"versions: 1\.1\.0 \(yanked\), 1\.0\.0 \(yanked\)"):
        elsewhere.clone(f"{place}#demo/cat")


def test_what_is_not_there_gets_no_note(several: Registry, place: str) -> None:
    pushed(several, place)
    with pytest.raises(NotFound, match=r"no demo/cat@9\.0\.0 there"):
        several.yank("demo/cat@9.0.0", at=place)
    with pytest.raises(InvalidArgument, match="does not name a version"):
        several.yank("demo/cat", at=place)


def test_a_damaged_note_there_is_told_and_mended(
    several: Registry, elsewhere: Registry, place: str, tmp_path: Path
) -> None:
    pushed(several, place)
    several.yank("demo/cat@1.1.0", at=place)
    (tmp_path / "shared/names/demo/cat/notes/1.1.0").write_bytes(b"\0" * 40)
    with pytest.raises(VerificationFailed, match="yank or deprecate it again with --at"):
        elsewhere.clone(f"{place}#demo/cat")
    several.yank("demo/cat@1.1.0", "again", at=place)
    assert cloned(elsewhere, f"{place}#demo/cat") == "1.0.0"


def test_the_commands_say_the_same(several: Registry, place: str) -> None:
    pushed(several, place)

    def told(*arguments: str) -> bool:
        result = CliRunner().invoke(cli, [*arguments, "demo/cat@1.1.0", "--at", place, "--json"])
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        assert said["at"] == place
        return bool(said["changed"])

    assert told("yank", "--reason", "dogs")
    assert not told("yank")
    assert told("unyank")
    assert told("deprecate")
    assert told("deprecate", "--undo")
    said = CliRunner().invoke(cli, ["yank", "demo/cat@1.1.0", "--at", place]).stdout
    assert said == f"demo/cat@1.1.0 is yanked now at {place}\n"


def test_the_versions_of_a_place_are_listed_with_what_is_said_there(several: Registry, place: str) -> None:
    def listed(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["versions", f"{place}#demo/cat", *arguments])
        assert result.exit_code == 0, result.output or result.exception
        return result.stdout

    with pytest.raises(NotFound, match="nothing of that name"):
        raise CliRunner().invoke(cli, ["versions", f"{place}#demo/cat"]).exception or AssertionError
    pushed(several, place)
    with pytest.raises(InvalidArgument, match="all versions are meant"):
        raise CliRunner().invoke(cli, ["versions", f"{place}#demo/cat@1.0.0"]).exception or AssertionError
    several.yank("demo/cat@1.1.0", "dogs", at=place)
    told = {each["version"]: each for each in json.loads(listed("--json"))}
    assert told["1.1.0"]["yanked"] == "dogs"
    assert told["1.0.0"]["aliases"] == ["latest"]
    assert told["1.0.0"]["manifest"] == several.resolve("demo/cat@1.0.0").digest
    assert "yanked: dogs" in listed()
    assert "yanked" not in CliRunner().invoke(cli, ["versions", "demo/cat"]).stdout
