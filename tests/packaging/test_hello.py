"""examples/lorry-hello, installed as a stranger's distribution, takes part in everything."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorry_plugins.backends import toybox

Lorry = Callable[..., "CompletedProcess[str]"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "lorry-hello"

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "write-a-plugin.md"

MODULE = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"

WEIGHT = f"{MODULE}.weight"


@pytest.fixture(scope="module")
def hello(install: Callable[[Path], Path]) -> Path:
    return install(EXAMPLE)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "louder.safetensors"
    save_file({f"hello.unet.{MODULE}.gain": torch.linspace(0, 1, 64)}, path)
    return path


def test_is_listed_with_its_distribution_and_version(hello: Path, run_lorry: Lorry) -> None:
    listed = {each["name"]: each for each in json.loads(run_lorry("plugins", "--json", installed=hello).stdout)}
    assert (listed["hello"]["distribution"], listed["hello"]["version"]) == ("lorry-hello", "1.0.0")
    assert listed["hello"]["provides"] == {"dialects": ["hello"], "kinds": ["gain"]}


def test_is_not_there_where_it_is_not_installed(adapter: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    done = run_lorry("inspect", adapter, installed=tmp_path)
    assert done.returncode == 5
    assert "hello" not in run_lorry("plugins", installed=tmp_path).stdout


def test_its_dialect_and_kind_are_identified(hello: Path, adapter: Path, run_lorry: Lorry) -> None:
    best = json.loads(run_lorry("identify", adapter, "--json", installed=hello).stdout)["candidates"][0]
    assert (best["dialect"], best["kinds"], best["score"]) == ("hello", ["gain"], 1)


def test_its_kind_converts_through_kohya_and_back(hello: Path, adapter: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    kohya, back = tmp_path / "kohya.safetensors", tmp_path / "back.safetensors"
    done = run_lorry("convert", adapter, "--to", "kohya", "-o", kohya, installed=hello)
    assert done.returncode == 0, done.stderr
    assert list(load_file(kohya)) == [f"lora_unet_{MODULE.replace('.', '_')}.gain"]
    done = run_lorry("convert", kohya, "--to", "hello", "-o", back, installed=hello)
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == adapter.read_bytes()


def test_a_lora_converts_through_its_dialect_and_back(hello: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    kohya, foreign, back = (tmp_path / f"{name}.safetensors" for name in ("kohya", "foreign", "back"))
    stem = f"lora_unet_{MODULE.replace('.', '_')}"
    tensors = {
        f"{stem}.alpha": torch.tensor(2.0),
        f"{stem}.lora_down.weight": torch.randn(4, 64),
        f"{stem}.lora_up.weight": torch.randn(64, 4),
    }
    save_file(tensors, kohya)
    done = run_lorry("convert", kohya, "--to", "hello", "--verify", "-o", foreign, installed=hello)
    assert done.returncode == 0, done.stderr
    assert all(key.startswith(f"hello.unet.{MODULE}.") for key in load_file(foreign))
    done = run_lorry("convert", foreign, "--to", "kohya", "-o", back, installed=hello)
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == kohya.read_bytes()


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_its_kind_bakes(hello: Path, adapter: Path, strength: float, tmp_path: Path, run_lorry: Lorry) -> None:
    baked = tmp_path / "baked"
    done = run_lorry("bake", "toybox-sd", f"{adapter}:{strength}", "-o", baked, installed=hello)
    assert done.returncode == 0, done.stderr
    file = Path("unet", "diffusion_pytorch_model.safetensors")
    before, after = load_file(Path(toybox.__file__).parent / "sd" / file), load_file(baked / file)
    gain = torch.linspace(0, 1, 64)[:, None]
    wanted = before[WEIGHT].float() * (1 + strength * gain)
    torch.testing.assert_close(after[WEIGHT], wanted.to(before[WEIGHT].dtype))
    assert [key for key in before if not torch.equal(before[key], after[key])] == [WEIGHT]


def test_an_adapter_for_wider_weights_is_refused(hello: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    path = tmp_path / "wide.safetensors"
    save_file({f"hello.unet.{MODULE}.gain": torch.zeros(640)}, path)
    done = run_lorry("bake", "toybox-sd", path, "-o", tmp_path / "baked", installed=hello)
    assert done.returncode == 5
    assert MODULE in done.stderr
    assert not (tmp_path / "baked").exists()


def test_the_commands_of_the_tutorial_work(hello: Path, adapter: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    assert adapter.parent == tmp_path  # the tutorial's louder.safetensors, in the folder where the commands run
    lines = re.findall(r"^lorry .*$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        done = run_lorry(*shlex.split(line)[1:], installed=hello)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "louder.png").read_bytes().startswith(b"\x89PNG")
