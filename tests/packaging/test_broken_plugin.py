"""A third party's broken plugin is told and skipped, and fails loudly only where it is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import save_file

Lorry = Callable[..., "CompletedProcess[str]"]

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lorry-broken"
version = "0.3.0"

[project.entry-points."lorry.{group}"]
broken = "lorry_broken"

[tool.hatch.build.targets.wheel]
only-include = ["lorry_broken.py"]
"""

WAYS = {
    "raises when it is imported": "raise RuntimeError('no such licence server')",
    "was written for another version of the contracts": "LORRY_API = 99",
    "implements no hook": "LORRY_API = 1",
    "returns what is no descriptor": (
        "from lorry.plugin import hookimpl\nLORRY_API = 1\n@hookimpl\ndef lorry_dialects(): return ['kohya']"
    ),
}

TOLD = {
    "raises when it is imported": "no such licence server",
    "was written for another version of the contracts": "99",
    "implements no hook": "does not implement",
    "returns what is no descriptor": "str",
}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write_project(folder: Path, group: str, source: str) -> Path:
    (folder / "pyproject.toml").write_text(PROJECT.format(group=group), encoding="utf-8")
    (folder / "lorry_broken.py").write_text(source, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def broken(way: str, tmp_path_factory: pytest.TempPathFactory, install: Callable[[Path], Path]) -> Path:
    return install(write_project(tmp_path_factory.mktemp("project"), "dialects", WAYS[way]))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "some.safetensors"
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{stem}.lora_down.weight": torch.ones(2, 64), f"{stem}.lora_up.weight": torch.ones(64, 2)}, path)
    return path


def test_is_told_by_lorry_plugins_and_the_others_are_listed(way: str, broken: Path, run_lorry: Lorry) -> None:
    done = run_lorry("plugins", "--json", installed=broken)
    assert done.returncode == 0, done.stderr
    listed = {each["name"]: each for each in json.loads(done.stdout)}
    assert TOLD[way] in listed["broken"]["error"]
    assert (listed["broken"]["distribution"], listed["broken"]["version"]) == ("lorry-broken", "0.3.0")
    assert listed["kohya"]["provides"] == {"dialects": ["kohya"]}


def test_fails_what_needs_its_group_and_names_it(way: str, broken: Path, adapter: Path, run_lorry: Lorry) -> None:
    done = run_lorry("identify", adapter, installed=broken)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "broken (lorry-broken 0.3.0)" in line
    assert TOLD[way] in line
    assert "LORRY_PLUGINS=no:broken" in line


def test_what_does_not_need_its_group_goes_on(broken: Path, run_lorry: Lorry) -> None:
    assert run_lorry("ls", installed=broken).returncode == 0


def test_leaving_it_out_helps(broken: Path, adapter: Path, run_lorry: Lorry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORRY_PLUGINS", "no:broken")
    done = run_lorry("identify", adapter, installed=broken)
    assert done.returncode == 0, done.stderr
    assert "kohya" in done.stdout


def test_a_broken_command_leaves_the_command_line_working(
    tmp_path: Path, install: Callable[[Path], Path], run_lorry: Lorry
) -> None:
    installed = install(write_project(tmp_path, "commands", WAYS["raises when it is imported"]))
    done = run_lorry("--help", installed=installed)
    assert done.returncode == 0
    assert "lorry-broken 0.3.0" in done.stdout
