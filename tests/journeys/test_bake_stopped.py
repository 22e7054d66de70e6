"""A bake that cannot be finished leaves nothing under its name; one that was stopped goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorry.ops.bases.output import copy_rest
from lorry_plugins.backends.toybox import bases
from tests.support.files import DIFFUSERS, KOHYA, kohya, write

from .conftest import Command

UNET = Path("unet/diffusion_pytorch_model.safetensors")
CHANGED = [f"{DIFFUSERS.removeprefix('unet.').removesuffix('q')}{part}.weight" for part in "qkv"]
SHARD = "unet/diffusion_pytorch_model-0000{}-of-00003.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The toybox's Stable Diffusion, its UNet in three shards, all of which an adapter changes."""
    folder = Path(shutil.copytree(bases()["toybox-sd"], tmp_path / "base"))
    tensors = load_file(folder / UNET)
    rest = [key for key in tensors if key not in CHANGED]
    parts = [[CHANGED[0], *rest[:50]], [CHANGED[1], *rest[50:100]], [CHANGED[2], *rest[100:]]]
    index: dict[str, str] = {}
    for at, part in enumerate(parts, 1):
        save_file({key: tensors[key] for key in part}, folder / SHARD.format(at))
        index |= dict.fromkeys(part, Path(SHARD.format(at)).name)
    table = {"metadata": {"total_size": 1}, "weight_map": index}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(table))
    (folder / UNET).unlink()
    return folder


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    stems = (KOHYA.removesuffix("to_q") + part for part in ("to_q", "to_k", "to_v"))
    made = {key: tensor for stem in stems for key, tensor in kohya(stem, rows=64, width=64, alpha=1.0).items()}
    return write(tmp_path / "cat.safetensors", made)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop(monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
    """Let the system fail once so many files have been made sure of on the disk."""
    sync = os.fsync
    done: list[int] = []

    def fail(handle: int) -> None:
        if len(done) == after:
            raise error
        done.append(handle)
        sync(handle)

    monkeypatch.setattr(os, "fsync", fail)


def working(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


STOPS = [KeyboardInterrupt(), OSError(28, "No space left on device")]


@pytest.mark.parametrize("error", STOPS)
def test_what_was_finished_is_taken_up_again(
    error: BaseException, command: Command, base: Path, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bake", base, cat, "-o", tmp_path / "out"]
    assert command(*words).code == 0
    uninterrupted = files(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patched:
        stop(patched, 2, error)
        done = command(*words)
    assert done.code in (1, 130)
    assert "finished and kept in" in done.err
    assert not (tmp_path / "out").exists()
    (kept,) = working(tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    assert len(finished) == 2
    inodes = {path.stat().st_ino for path in finished}
    assert command(*words).code == 0
    assert files(tmp_path / "out") == uninterrupted
    assert inodes <= {path.stat().st_ino for path in (tmp_path / "out").rglob("*")}
    assert not working(tmp_path)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def of_another_recipe(file: Path) -> None:
    save_file(load_file(file), file, {"lorry.recipe": "{}"})


@pytest.mark.parametrize("damage", [truncated, of_another_recipe])
def test_what_is_not_whole_is_made_again(
    damage: Callable[[Path], None],
    command: Command,
    base: Path,
    cat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["bake", base, cat, "-o", tmp_path / "out"]
    with monkeypatch.context() as patched:
        stop(patched, 3, KeyboardInterrupt())
        assert command(*words).code == 130
    (kept,) = working(tmp_path)
    shards = sorted((kept / "unet").glob("*.safetensors"))
    damage(shards[0])
    assert command(*words).code == 0
    shutil.move(tmp_path / "out", tmp_path / "resumed")
    assert command(*words).code == 0
    assert files(tmp_path / "resumed") == files(tmp_path / "out")


def test_another_strength_is_another_bake(
    command: Command, base: Path, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stop(patched, 3, KeyboardInterrupt())
        assert command("bake", base, cat, "-o", tmp_path / "out").code == 130
    assert command("bake", base, f"{cat}:0.5", "-o", tmp_path / "out").code == 0
    (kept,) = working(tmp_path)
    shutil.rmtree(kept)
    shutil.move(tmp_path / "out", tmp_path / "half")
    assert command("bake", base, f"{cat}:0.5", "-o", tmp_path / "out").code == 0
    assert files(tmp_path / "half") == files(tmp_path / "out")


def test_two_of_one_bake_are_not_mixed(
    command: Command, base: Path, cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bake", base, cat, "-o", tmp_path / "out"]
    second: list[Any] = []

    def meanwhile(*given: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        second.append(command(*words))
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        copy_rest(*given)

    monkeypatch.setattr("lorry.ops.baking.write.copy_rest", meanwhile)
    assert command(*words).code == 0
    assert (second[0].code, "is being made by another run" in second[0].line) == (4, True)
    assert not working(tmp_path)


def test_a_disk_that_is_too_small(command: Command, base: Path, cat: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        done = command("bake", base, cat, "-o", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 1
    assert "File too large" in done.err
    assert not (tmp_path / "out").exists()
    for kept in working(tmp_path):
        shutil.rmtree(kept)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda down: down.fill_(float("nan")), 1, "holds NaN or infinity"),
        (lambda down: down.mul_(1e8), 5, "float16 ends at"),
    ],
    ids=["not-a-number", "too-large"],
)
def test_numbers_that_would_spoil_the_base(
    spoil: Callable[[torch.Tensor], torch.Tensor], code: int, says: str, command: Command, tmp_path: Path
) -> None:
    made = kohya(rows=64, width=64, alpha=1.0)
    spoil(made[f"{KOHYA}.lora_down.weight"])
    cat = write(tmp_path / "cat.safetensors", made)
    done = command("bake", "toybox-sd", cat, "-o", tmp_path / "out")
    assert (done.code, says in done.line) == (code, True), done.err
    assert {path.name for path in tmp_path.iterdir()} == {"cat.safetensors"}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (kohya(rows=64, width=32), "is for another base"),
        (kohya("lora_unet_down_blocks_9_attentions_0_transformer_blocks_0_attn1_to_q"), "has no such module"),
        (kohya("lora_unet_double_blocks_0_img_attn_qkv", rows=96, width=32), "is for FLUX.1"),
    ],
    ids=["shape", "module", "family"],
)
def test_an_adapter_of_another_base(made: dict[str, torch.Tensor], says: str, command: Command, tmp_path: Path) -> None:
    cat = write(tmp_path / "cat.safetensors", made)
    done = command("bake", "toybox-sd", cat, "-o", tmp_path / "out")
    assert (done.code, says in done.line) == (5, True), done.err
    assert {path.name for path in tmp_path.iterdir()} == {"cat.safetensors"}
