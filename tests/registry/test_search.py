"""Finding adapters by what people know of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import UnknownName
from lorry_registry import Card, Registry

from .helpers import write_lora


@pytest.fixture
def zoo(registry: Registry, tmp_path: Path) -> Registry:
    cards = {
        "demo/raccoon": Card(title="Ein Waschbär", tags=("animal",), trigger_words=("sks coon",)),
        "demo/ink": Card(title="Ink style", description="Made beside the raccoon; 100% black", tags=("style",)),
        "other/cat": Card(title="CAT", authors=("someone",)),
    }
    for at, (name, card) in enumerate(cards.items()):
        registry.publish(f"{name}@1.0.0", [write_lora(tmp_path / f"{at}.safetensors", seed=at)], card=card)
    registry.publish(
        "demo/raccoon@1.1.0", [write_lora(tmp_path / "new.safetensors", seed=9)], card=cards["demo/raccoon"]
    )
    return registry


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["raccoon"], ["demo/raccoon", "demo/ink"]),
        (["WASCHBÄR"], ["demo/raccoon"]),
        (["coon", "sks"], ["demo/raccoon"]),
        (["demo", "style"], ["demo/ink"]),
        (["100%"], ["demo/ink"]),
        (["cat"], ["other/cat"]),
        (["anim"], ["demo/raccoon"]),
        (["%"], ["demo/ink"]),
        (["_"], []),
        (["raccoon", "cat"], []),
        ([], ["demo/ink", "demo/raccoon", "other/cat"]),
        (["--base", "sd1"], ["demo/ink", "demo/raccoon", "other/cat"]),
        (["--base", "flux1"], []),
        (["--base", "SDXL@1", "cat"], []),
        (["--kind", "lora", "cat"], ["other/cat"]),
        (["--kind", "loha"], []),
    ],
)
@pytest.mark.usefixtures("zoo")
def test_every_word_must_stand_somewhere(words: Sequence[str], found: Sequence[str]) -> None:
    result = CliRunner().invoke(cli, ["search", *words, "--json"])
    assert result.exit_code == 0, result.output
    assert [each["adapter"] for each in json.loads(result.stdout)] == found


@pytest.mark.usefixtures("zoo")
def test_a_base_that_nobody_knows_is_told_with_those_that_are_near() -> None:
    error = CliRunner().invoke(cli, ["search", "--base", "sdlx"]).exception
    assert isinstance(error, UnknownName)
    assert "did you mean 'sdxl'" in str(error)


def test_what_is_found_by_one_version_is_listed_with_all(zoo: Registry, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "newer.safetensors", seed=11)
    zoo.publish("demo/raccoon@1.2.0", [file], card=Card(title="Zebra", tags=("striped",), trigger_words=("zz",)))
    for word, version in (("sks", "1.1.0"), ("zebra", "1.2.0")):
        found = rows("search", word)["demo/raccoon"]
        assert (found["version"], found["versions"]) == (version, ["1.0.0", "1.1.0", "1.2.0"])


def rows(*arguments: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return {each["adapter"]: each for each in json.loads(result.stdout)}


@pytest.mark.parametrize("command", ["ls", "search"])
def test_a_yanked_version_is_not_the_one_that_is_shown(command: str, zoo: Registry) -> None:
    assert rows(command)["demo/raccoon"]["version"] == "1.1.0"
    zoo.yank("demo/raccoon@1.1.0", "dogs")
    row = rows(command)["demo/raccoon"]
    assert (row["version"], row["note"], row["yanked"]) == ("1.0.0", {}, ["1.1.0"])
    assert "1.0.0    2 (1 yanked)" in CliRunner().invoke(cli, [command]).stdout
    zoo.unyank("demo/raccoon@1.1.0")
    assert rows(command)["demo/raccoon"]["version"] == "1.1.0"


@pytest.mark.parametrize("command", ["ls", "search"])
def test_what_should_not_be_used_is_marked(command: str, zoo: Registry) -> None:
    zoo.deprecate("demo/ink@1.0.0", "old")
    zoo.yank("demo/raccoon@1.0.0")
    zoo.yank("demo/raccoon@1.1.0", "dogs")
    row = rows(command)["demo/raccoon"]
    assert (row["version"], row["note"], row["yanked"]) == ("1.1.0", {"yanked": "dogs"}, ["1.0.0", "1.1.0"])
    assert rows(command)["demo/ink"]["deprecated"] == ["1.0.0"]
    printed = CliRunner().invoke(cli, [command]).stdout
    assert "1.0.0 (deprecated)" in printed
    assert "1.1.0 (yanked)" in printed


def test_a_damaged_note_is_marked_until_it_is_mended(zoo: Registry) -> None:
    zoo.yank("demo/ink@1.0.0")
    note = zoo.home / "names/demo/ink/notes/1.0.0"
    note.write_bytes(b"\0")
    for _ in range(2):
        assert "note is damaged" in rows("ls")["demo/ink"]["fault"]
    zoo.yank("demo/ink@1.0.0", "again")
    assert rows("ls")["demo/ink"]["note"] == {"yanked": "again"}


def test_people_see_one_line_an_adapter(zoo: Registry) -> None:
    lines = CliRunner().invoke(cli, ["search", "raccoon"]).stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["demo/raccoon", "1.1.0", "2"], ["demo/ink", "1.0.0", "1"]]
    assert f"nothing in the registry at {zoo.home} fits" in CliRunner().invoke(cli, ["search", "zebra"]).stderr
