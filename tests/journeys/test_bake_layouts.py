"""Baking into another layout or dtype is baking, and then converting or rounding."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import lorry
from lorry_plugins.backends import toybox
from tests.support.checkpoints import save
from tests.support.files import DIFFUSERS, kohya, write

from .conftest import Command

STYLE = Path(toybox.__file__).parent / "adapters" / "style.safetensors"

FLUX = "lora_unet_double_blocks_0_img_attn_qkv"
"""A module of which FLUX.1's own layout has one, and we have three."""

CHANGED = {
    "sd1": {f"{DIFFUSERS}.weight"},
    "flux1": {f"transformer.transformer_blocks.0.attn.to_{part}.weight" for part in "qkv"},
}


@pytest.fixture(scope="module", params=["sd1", "flux1"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> lorry.Base:
    return lorry.open_base(save(request.param, tmp_path_factory.mktemp(request.param) / "base"))


@pytest.fixture
def cat(base: lorry.Base, tmp_path: Path) -> Path:
    made = kohya(alpha=1.0) if base.id == "sd1" else kohya(FLUX, rows=96, width=32, alpha=1.0)
    return write(tmp_path / "cat.safetensors", made)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: ref.torch() for name, ref in lorry.open_base(path).tensors.items()}


def test_another_layout_holds_what_baking_and_converting_gives(
    command: Command, base: lorry.Base, cat: Path, tmp_path: Path
) -> None:
    layout = {"sd1": "ldm", "flux1": "bfl"}[base.id]
    done = command(
        "bake", base.path, f"{cat}:0.5", "-o", tmp_path / "one.safetensors", "--to", layout, "--lossy", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["layout"] == layout
    assert command("bake", base.path, f"{cat}:0.5", "-o", tmp_path / "baked").code == 0
    assert (
        command("convert-base", tmp_path / "baked", "--to", layout, "--lossy", "-o", tmp_path / "two.safetensors").code
        == 0
    )
    one, two = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-6, atol=1e-6)
    after = tensors(tmp_path / "one.safetensors")
    assert {name for name, each in after.items() if not torch.equal(each, base.tensors[name].torch())} == CHANGED[
        base.id
    ]


@pytest.mark.parametrize("base", ["sd1"], indirect=True)
def test_of_two_bakes_the_header_tells_the_last(command: Command, base: lorry.Base, cat: Path, tmp_path: Path) -> None:
    words = write(
        tmp_path / "words.safetensors", kohya("lora_te_text_model_encoder_layers_0_mlp_fc1", rows=16, alpha=1.0)
    )
    assert command("bake", base.path, cat, "-o", tmp_path / "once").code == 0
    assert command("bake", tmp_path / "once", words, "-o", tmp_path / "twice").code == 0
    one = tmp_path / "one.safetensors"
    assert command("convert-base", tmp_path / "twice", "--to", "ldm", "-o", one).code == 0
    with safe_open(one, "pt") as file:
        recipe = json.loads(file.metadata()["lorry.recipe"])
    assert recipe["op"] == "convert-base"
    told = json.dumps(recipe["base"]["recipe"]["inputs"])
    assert ("words.safetensors" in told, "cat.safetensors" in told) == (True, False)


@pytest.mark.parametrize("base", ["sd1"], indirect=True)
def test_back_into_a_folder(command: Command, base: lorry.Base, cat: Path, tmp_path: Path) -> None:
    lorry.convert_base(base, tmp_path / "single.safetensors", "ldm")
    words = ["bake", tmp_path / "single.safetensors", cat, "--to", "diffusers", "--like", base.path]
    assert command(*words, "-o", tmp_path / "out").code == 0
    assert command("bake", base.path, cat, "-o", tmp_path / "direct").code == 0
    one, two = tensors(tmp_path / "out"), tensors(tmp_path / "direct")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-6, atol=1e-6)


KILLED = f"""
import os, sys
sync, done = os.fsync, []
def fsync(handle):
    if len(done) == 2:
        os.kill(os.getpid(), {signal.SIGKILL.value})
    done.append(handle)
    sync(handle)
os.fsync = fsync
from lorry.__main__ import main
main()
"""


@pytest.mark.parametrize("base", ["sd1"], indirect=True)
@pytest.mark.parametrize("verb", ["convert-base", "bake"])
def test_a_folder_in_another_layout_goes_on_after_a_kill(
    verb: str, command: Command, base: lorry.Base, cat: Path, tmp_path: Path
) -> None:
    single, out = tmp_path / "single.safetensors", tmp_path / "out"
    lorry.convert_base(base, single, "ldm")
    adapters = [cat] if verb == "bake" else []
    words = [verb, single, *adapters, "--to", "diffusers", "--like", base.path, "-o", out]
    assert command(*words).code == 0
    uninterrupted = files(out)
    shutil.rmtree(out)
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    finished = {path.stat().st_ino for path in tmp_path.glob(".out.*.part/*/*.safetensors")}
    assert finished
    assert command(*words).code == 0
    assert files(out) == uninterrupted
    assert finished <= {path.stat().st_ino for path in out.rglob("*")}
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.parametrize("base", ["sd1"], indirect=True)
def test_what_was_changed_since_is_written_again(
    base: lorry.Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single, out = tmp_path / "single.safetensors", tmp_path / "out"
    lorry.convert_base(base, single, "ldm")
    monkeypatch.setattr("lorry.ops.bases.convert.copy_rest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lorry.convert_base(lorry.open_base(single), out, "diffusers", like=base.path)
    monkeypatch.undo()
    (unet,) = tmp_path.glob(".out.*.part/unet/*.safetensors")
    os.truncate(unet, unet.stat().st_size - 1)
    lorry.convert_base(lorry.open_base(single), out, "diffusers", like=base.path, verify=True)
    assert tensors(out).keys() == base.tensors.keys()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_a_dtype_is_rounded_to_once(dtype: str, command: Command, base: lorry.Base, cat: Path, tmp_path: Path) -> None:
    assert command("bake", base.path, cat, "-o", tmp_path / "out", "--dtype", dtype).code == 0
    wide = lorry.bake(base, [lorry.open(cat, base=base)])
    narrow = {"F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    for name, tensor in tensors(tmp_path / "out").items():
        assert tensor.dtype == narrow
        torch.testing.assert_close(tensor, wide[name].to(narrow), rtol=2 * torch.finfo(narrow).eps, atol=1e-6)
        if name not in wide.changes:
            assert torch.equal(tensor, wide[name].to(narrow))


def test_the_header_tells_what_it_is_made_of(command: Command, base: lorry.Base, cat: Path, tmp_path: Path) -> None:
    assert command("bake", base.path, f"{cat}:0.5", "-o", tmp_path / "out").code == 0
    part = {"sd1": "unet", "flux1": "transformer"}[base.id]
    with safe_open(tmp_path / "out" / part / "diffusion_pytorch_model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    told = json.loads(metadata["lorry.recipe"])
    assert (told["op"], told["inputs"][0]["adapter"], told["inputs"][0]["weight"]) == ("bake", "cat.safetensors", 0.5)
    assert told["base"]["id"] == base.id
    assert (tmp_path / told["base"]["path"]).resolve() == base.path.resolve()
    assert all(digest.startswith("blake3:") for digest in told["base"]["files"].values())


@pytest.mark.parametrize("base", ["sd1"], indirect=True)
def test_learned_tokens_want_the_base_in_its_own_layout(command: Command, base: lorry.Base, tmp_path: Path) -> None:
    token = write(tmp_path / "ohwxcat.safetensors", {"emb_params": torch.ones(2, 8)})
    done = command("bake", base.path, token, "-o", tmp_path / "out.safetensors", "--to", "ldm")
    assert done.code == 5
    assert "convert the base first" in done.line
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("lossy", [[], ["--lossy"]])
def test_what_was_baked_is_never_left_out(lossy: list[str], command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = command("bake", "toybox-sd", STYLE, "-o", out, "--to", "ldm", *lossy)
    assert (done.code, "cannot hold 1 " in done.line, "unet has no" in done.line) == (5, True, True), done.err
    assert "--lossy" not in done.line
    assert not out.exists()
