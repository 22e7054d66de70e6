"""The commands, as people and scripts meet them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, LorryError, NotRecognised, UnknownName
from lorry.plugin.host import host
from lorry_registry import Registry

from .helpers import publish_bytes, write_lora


def lorry(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=True)


def told(*arguments: str | Path) -> Any:
    result = lorry(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_whole_way_from_a_file_to_a_pulled_copy(lora: Path, tmp_path: Path) -> None:
    made = told("publish", "demo/cat@1.0.0", lora, "--alias", "champion", "--title", "A cat")
    assert (made["reference"], made["new"], made["dry_run"]) == ("demo/cat@1.0.0", True, False)
    assert told("publish", "demo/cat@1.0.0", lora, "--title", "A cat")["new"] is False
    (listed,) = told("ls")
    assert (listed["adapter"], listed["version"], listed["title"]) == ("demo/cat", "1.0.0", "A cat")
    (version,) = told("versions", "demo/cat")
    assert (version["version"], version["aliases"]) == ("1.0.0", ["champion", "latest"])
    assert version["manifest"] == made["manifest"]
    assert version["published"]
    assert told("alias", "set", "demo/cat@stable", "1.0.0")["moved"] is True
    assert told("alias", "ls", "demo/cat") == {"champion": "1.0.0", "latest": "1.0.0", "stable": "1.0.0"}
    shown = told("show", "demo/cat@champion")
    assert shown["content"] == made["content"]
    assert told("verify", "demo/cat")["files"][0]["path"] == "cat.safetensors"
    assert told("alias", "rm", "demo/cat@champion") == {"alias": "demo/cat@champion", "before": "1.0.0"}
    (pulled,) = told("pull", "demo/cat@stable", "--to", tmp_path / "out")["files"]
    assert Path(pulled).read_bytes() == lora.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls"], ["demo/cat", "1.0.0", "lora", "sd1@1"]),
        (["show", "demo/cat"], ["demo/cat@1.0.0", "kohya+safetensors", "cat.safetensors", "latest", "sha256:"]),
        (["versions", "demo/cat"], ["1.0.0", "latest"]),
        (["alias", "ls", "demo/cat"], ["latest", "1.0.0"]),
        (["verify", "demo/cat"], ["demo/cat@1.0.0 is intact", "1 file"]),
        (["alias", "set", "demo/cat@best", "1.0.0"], ["demo/cat@best is now 1.0.0"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("published")
def test_people_read_the_same_facts(arguments: list[str], words: list[str]) -> None:
    result = lorry(*arguments)
    assert result.exit_code == 0, result.output
    for word in words:
        assert word in result.stdout


def test_a_dry_run_tells_and_changes_nothing(lora: Path) -> None:
    result = lorry("publish", "demo/cat@1.0.0", lora, "--dry-run")
    assert "would publish demo/cat@1.0.0: lora for sd1@1, 1 file" in result.stdout
    assert told("ls") == []


def test_a_dry_run_tells_of_a_conflict_too(published: Registry, tmp_path: Path) -> None:
    other = write_lora(tmp_path / "other.safetensors", seed=2)
    assert isinstance(lorry("publish", "demo/cat@1.0.0", other, "--dry-run").exception, Conflict)
    assert len(published.ls()) == 1


@pytest.mark.parametrize(("answer", "count"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_a_person_is_asked_before_what_cannot_be_undone(
    lora: Path, answer: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = CliRunner()
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    result = runner.invoke(cli, ["publish", "demo/cat@1.0.0", str(lora)], input=answer)
    assert "It can never be changed" in result.stderr
    assert (result.exit_code == 0) is bool(count)
    assert len(told("ls")) == count


@pytest.mark.usefixtures("published")
def test_what_it_was_made_from_is_shown(tmp_path: Path) -> None:
    lorry("convert", "demo/cat", "--to", "diffusers", "-o", tmp_path / "d.safetensors")
    assert "made from demo/cat@1.0.0" in lorry("publish", "demo/d@1.0.0", tmp_path / "d.safetensors").stdout
    assert "made by convert from" in lorry("show", "demo/d").stdout


@pytest.mark.usefixtures("published")
def test_a_merge_on_the_command_line_is_recorded_with_its_parents(tmp_path: Path) -> None:
    style = write_lora(tmp_path / "style.safetensors", seed=5)
    lorry("publish", "demo/style@1.0.0", style)
    merged = lorry("merge", "demo/cat:0.7", "demo/style:0.5", "-o", tmp_path / "both.safetensors")
    assert merged.exit_code == 0, merged.exception
    made = told("publish", "demo/both@1.0.0", tmp_path / "both.safetensors")
    parents = [(each["reference"], each["weight"]) for each in made["content"]["lineage"]["parents"]]
    assert parents == [("demo/cat@1.0.0", 0.7), ("demo/style@1.0.0", 0.5)]


def test_ls_shows_the_newest_stable_version_and_how_many_there_are(registry: Registry) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        publish_bytes(registry.store, f"demo/cat@{version}", version.encode())
    (row,) = told("ls")
    assert (row["version"], row["versions"]) == ("1.10.0", ["1.9.0", "1.10.0", "2.0.0-rc.1"])


def test_ls_of_nothing_says_how_to_begin() -> None:
    assert "lorry publish adds to it" in lorry("ls").stderr


def test_bases_are_named_listed_and_forgotten(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(host().stores()["toybox"].bases()["toybox-sd"], model)
    assert told("base", "add", "my-sd", model)["path"] == str(model)
    found = {each["name"]: each for each in told("base", "ls")}
    assert (found["my-sd"]["store"], found["my-sd"]["missing"]) == ("local", False)
    assert found["toybox-sd"]["store"] == "toybox"
    told("base", "rm", "my-sd")
    assert "my-sd" not in {each["name"] for each in told("base", "ls")}


def test_a_base_that_a_plugin_brings_cannot_be_forgotten() -> None:
    with pytest.raises(Conflict, match="toybox-sd comes with"):
        raise lorry("base", "rm", "toybox-sd").exception or AssertionError
    with pytest.raises(UnknownName):
        raise lorry("base", "rm", "toybox").exception or AssertionError


@pytest.mark.parametrize("command", [["versions"], ["alias", "ls"]])
@pytest.mark.usefixtures("published")
def test_where_all_versions_are_meant_one_is_refused(command: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"lorry show demo/cat@1\.0\.0"):
        raise lorry(*command, "demo/cat@1.0.0").exception or AssertionError


@pytest.mark.usefixtures("published")
def test_commands_that_mend_name_the_reference_as_it_was_given() -> None:
    mends = [each["mend"] for each in told("inspect", "demo/cat@1.0.0")["loads"] if each["mend"]]
    assert mends
    assert all("demo/cat@1.0.0" in each for each in mends)


def test_what_is_no_base_gets_no_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert isinstance(lorry("base", "add", "mine", tmp_path / "empty").exception, NotRecognised)
    assert "mine" not in {each["name"] for each in told("base", "ls")}


def test_a_name_that_a_plugin_gives_is_not_taken(tmp_path: Path) -> None:
    result = lorry("base", "add", "toybox-sd", tmp_path)
    assert isinstance(result.exception, Conflict)


def test_text_from_files_cannot_drive_the_terminal(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "cat.safetensors", metadata={"modelspec.title": "cat\x1b]0;owned\x07"})
    registry.publish("demo/cat@1.0.0", [lora])
    for arguments in (["ls"], ["show", "demo/cat"]):
        assert "\x1b]" not in lorry(*arguments).stdout


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()],
    ids=["damaged", "missing"],
)
def test_verify_fails_with_the_name_of_the_file(published: Registry, damage: Callable[[Path], object]) -> None:
    path = published.store.blobs.path(published.manifest("demo/cat").files[0].sha256)
    path.chmod(0o644)
    damage(path)
    error = lorry("verify", "demo/cat").exception
    assert isinstance(error, LorryError)
    assert error.exit_code == 8
    assert "demo/cat@1.0.0: cat.safetensors" in str(error)
