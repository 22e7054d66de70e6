"""Folders of adapters: told of in one line each, and converted together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

import lorry
from lorry.cli import cli
from lorry.errors import LorryError, NotFound
from lorry.ops.disk import batch
from tests.support import files


def run(*arguments: str | Path) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(cli, [*map(str, arguments)])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library: LoRAs of two layouts in two folders, a damaged file, and what is no adapter."""
    library = tmp_path / "library"
    (library / "people").mkdir(parents=True)
    (library / ".hidden").mkdir()
    files.write(library / "b.safetensors", files.kohya(alpha=1.0))
    files.write(library / "people" / "a.safetensors", files.peft())
    files.write(library / ".hidden" / "c.safetensors", files.peft())
    (library / "people" / "damaged.safetensors").write_bytes(b"\xff" * 64)
    (library / "people" / "card.json").write_text('{"title": "people"}')
    (library / "people" / "picture.png").write_bytes(b"\x89PNG")
    return library


@pytest.fixture
def sound(folder: Path) -> Path:
    """The library without the damaged file."""
    (folder / "people" / "damaged.safetensors").unlink()
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_adapters_are_found_at_any_depth_in_order(folder: Path) -> None:
    assert names(batch.find([folder])) == ["b.safetensors", "a.safetensors", "damaged.safetensors"]
    assert names(batch.find([folder / "people" / "picture.png"])) == ["picture.png"]
    with pytest.raises(NotFound, match="nowhere"):
        batch.find([folder / "nowhere"])


def test_a_peft_folder_is_one_adapter(sound: Path) -> None:
    lorry.save(lorry.open(sound / "b.safetensors"), sound / "people" / "peft", "peft")
    assert names(batch.find([sound])) == ["b.safetensors", "a.safetensors", "peft"]


@pytest.mark.parametrize("command", ["inspect", "identify"])
def test_a_folder_is_told_of_in_a_line_each_and_damage_stops_nothing(folder: Path, command: str) -> None:
    done = run(command, "-r", folder)
    head, *rows = done.stdout.splitlines()
    assert head.split()[-1] == "path"
    assert [row.split()[-1] for row in rows] == [str(folder / "b.safetensors"), str(folder / "people/a.safetensors")]
    assert "damaged.safetensors" in done.stderr
    assert isinstance(done.exception, LorryError)
    assert str(done.exception) == "1 of 3 could not be read"
    assert done.exception.exit_code == 1


@pytest.mark.parametrize("command", ["inspect", "identify"])
def test_json_is_a_line_each_and_says_what_failed(folder: Path, command: str) -> None:
    told = lines(run(command, "-r", "--json", folder))
    assert [Path(each["path"]).name for each in told] == ["b.safetensors", "a.safetensors", "damaged.safetensors"]
    assert ["error" in each for each in told] == [False, False, True]


def test_a_line_of_json_says_what_inspect_says_of_the_file(sound: Path) -> None:
    told = lines(run("inspect", "-r", "--json", sound))[0]
    alone = json.loads(run("inspect", "--json", sound / "b.safetensors").stdout)
    assert told == {"path": str(sound / "b.safetensors"), **alone}


def test_a_folder_without_adapters_is_an_error(tmp_path: Path) -> None:
    assert isinstance(run("identify", "-r", tmp_path).exception, NotFound)


def test_many_are_shared_among_processes_and_come_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:03}" for number in range(batch.FEW + 10)]
    for path in paths:
        path.write_bytes(path.name.encode())
    assert list(batch.work(Path.read_bytes, paths)) == [path.name.encode() for path in paths]


def test_a_folder_is_converted_into_another_as_it_lies(sound: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in sound.rglob("*.safetensors")}
    done = run("convert", sound, "--to", "kohya", "--out-dir", tmp_path / "out", "--verify")
    assert done.exception is None, done.output
    made = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.safetensors")}
    assert made == {Path("b.safetensors"), Path("people/a.safetensors")}
    assert lorry.identify(tmp_path / "out/people/a.safetensors").candidates[0].dialect == "kohya"
    assert done.stdout.count("verified: 1 layer ") == 2
    assert before == {path: path.read_bytes() for path in sound.rglob("*.safetensors")}


def test_nothing_is_overwritten_unasked_and_the_rest_is_done(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.safetensors").write_text("mine")
    arguments = ("convert", sound, "--to", "diffusers", "--out-dir", tmp_path / "out")
    done = run(*arguments)
    assert str(done.exception) == "1 of 2 could not be converted"
    assert "b.safetensors exists" in done.stderr
    assert (tmp_path / "out" / "b.safetensors").read_text() == "mine"
    assert (tmp_path / "out" / "people" / "a.safetensors").exists()
    assert run(*arguments, "--force").exception is None
    assert lorry.identify(tmp_path / "out" / "b.safetensors").candidates[0].dialect == "diffusers"


def test_what_cannot_be_converted_is_told_in_its_line(folder: Path, tmp_path: Path) -> None:
    done = run("convert", folder, "--to", "kohya", "--out-dir", tmp_path / "out", "--json")
    told = lines(done)
    assert ["error" in each for each in told] == [False, False, True]
    assert told[2]["source"].endswith("damaged.safetensors")
    assert str(done.exception) == "1 of 3 could not be converted"


def test_in_place_replaces_a_file_when_its_successor_is_whole(folder: Path) -> None:
    """The damaged file stays as it was, and nothing else is left lying about."""
    damaged = (folder / "people" / "damaged.safetensors").read_bytes()
    before = sorted(folder.rglob("*"))
    done = run("convert", folder, "--to", "diffusers", "--in-place", "--verify")
    assert str(done.exception) == "1 of 3 could not be converted"
    assert sorted(folder.rglob("*")) == before
    assert (folder / "people" / "damaged.safetensors").read_bytes() == damaged
    assert lorry.identify(folder / "b.safetensors").candidates[0].dialect == "diffusers"


def test_in_place_with_another_suffix_keeps_the_old_file(sound: Path) -> None:
    done = run("convert", sound / "b.safetensors", "--to", "peft", "--in-place")
    assert done.exception is None, done.output
    assert (sound / "b" / "adapter_config.json").exists()
    assert (sound / "b.safetensors").exists()


def test_two_that_would_become_one_are_told_and_the_rest_is_done(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound / "b.safetensors", tmp_path / "b.safetensors")
    paths = (sound, tmp_path / "b.safetensors")
    done = run("convert", *paths, "--to", "diffusers", "--out-dir", tmp_path / "out")
    assert str(done.exception) == "2 of 3 could not be converted"
    assert done.stderr.count("would both become") == 2
    assert [path.name for path in (tmp_path / "out").rglob("*.safetensors")] == ["a.safetensors"]


def test_every_failure_begins_with_its_file(sound: Path, tmp_path: Path) -> None:
    token = files.write(sound / "token.safetensors", {"emb_params": torch.ones(1, 768)})
    done = run("convert", sound, "--to", "peft", "--out-dir", tmp_path / "out")
    assert str(done.exception) == "1 of 3 could not be converted"
    assert f"{token}: " in done.stderr


def test_a_folder_that_may_not_be_looked_into_is_told(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is closed, so the system's answer is given in its place."""
    scan, closed = os.scandir, sound / "people"

    def scandir(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = run("identify", "-r", sound)
    assert str(done.exception) == "1 of 2 could not be read"
    assert str(closed) in done.stderr


@pytest.mark.parametrize("where", [[], ["-o", "x", "--in-place"], ["--out-dir", "x", "--in-place"]])
def test_there_is_one_place_to_write(sound: Path, where: list[str]) -> None:
    done = run("convert", sound / "b.safetensors", "--to", "diffusers", *where)
    assert done.exit_code == click.UsageError.exit_code
    assert "say where to write" in done.output


def test_inspect_ends_with_the_tools_and_what_mends_it(sound: Path) -> None:
    path = sound / "people" / "a.safetensors"
    shown = run("inspect", path).stdout.splitlines()
    at = next(number for number, line in enumerate(shown) if line.startswith("tool "))
    verdicts = {line.split("  ")[0]: line for line in shown[at + 1 :] if not line.startswith("for ")}
    assert " loads " in verdicts["diffusers 0.42.1"]
    assert " not " in verdicts["peft 0.21.2"]
    assert any(line.startswith("for ComfyUI") and "--to kohya" in line for line in shown)
    told = {each["tool"]: each["verdict"] for each in json.loads(run("inspect", "--json", path).stdout)["loads"]}
    assert (told["diffusers"], told["ComfyUI"], told["peft"]) == ("loads", "not", "not")


@pytest.mark.parametrize("proof", [[], ["--verify"]])
def test_numbers_that_are_none_are_kept_or_told(proof: list[str], tmp_path: Path) -> None:
    tensors = {key: torch.full_like(tensor, float("nan")) for key, tensor in files.peft().items()}
    source = files.write(tmp_path / "nan.safetensors", tensors)
    done = run("convert", source, "--to", "kohya", "-o", tmp_path / "out.safetensors", *proof)
    assert (tmp_path / "out.safetensors").exists() is not bool(proof)
    assert ("the source holds NaN or infinity" in str(done.exception)) is bool(proof)
