"""A baked base is the base with the adapters in it, in the same layout, and needs no adapter any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import lorry
from lorry_plugins.backends.toybox import bases
from tests.support.files import DIFFUSERS, kohya, write

from .conftest import Command

UNET = Path("unet/diffusion_pytorch_model.safetensors")
ENCODER = Path("text_encoder/model.safetensors")
CHANGED = f"{DIFFUSERS.removeprefix('unet.')}.weight"


@pytest.fixture
def sd() -> Path:
    return Path(bases()["toybox-sd"])


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    return write(tmp_path / "cat.safetensors", kohya(rows=64, width=64, alpha=1.0))


def token(folder: Path, name: str, value: float = 1.0, rows: int = 2, width: int = 128) -> Path:
    folder.mkdir(exist_ok=True)
    return write(folder / f"{name}.safetensors", {"emb_params": torch.full((rows, width), value)})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wanted(base: Path, cat: Path, strength: float) -> torch.Tensor:
    weight, adapter = load_file(base / UNET)[CHANGED], load_file(cat)
    down, up = (next(ref for key, ref in adapter.items() if f"lora_{name}" in key) for name in ("down", "up"))
    return (weight.float() + strength * 0.5 * up @ down).to(weight.dtype)


def test_what_no_adapter_touches_is_the_same_to_the_bit(command: Command, sd: Path, cat: Path, tmp_path: Path) -> None:
    done = command("bake", "toybox-sd", f"{cat}:0.5", "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert (done.json["changed"], done.json["tokens"]) == (1, [])
    before, after = files(sd), files(tmp_path / "out")
    assert after.keys() == before.keys()
    assert {name for name, data in after.items() if data != before[name]} == {str(UNET)}
    old, new = load_file(sd / UNET), load_file(tmp_path / "out" / UNET)
    assert list(new) == list(old)
    assert torch.equal(new.pop(CHANGED), wanted(sd, cat, 0.5))
    assert all(torch.equal(tensor, old[key]) for key, tensor in new.items())
    assert lorry.open_base(tmp_path / "out").id == "sd1"
    assert "1 of" in command("bake", sd, cat, "-o", tmp_path / "again").out


def test_baking_twice_is_baking_both(command: Command, cat: Path, tmp_path: Path) -> None:
    assert command("bake", "toybox-sd", f"{cat}:0.25", f"{cat}:0.5", "-o", tmp_path / "both").code == 0
    assert command("bake", "toybox-sd", f"{cat}:0.25", "-o", tmp_path / "one").code == 0
    assert command("bake", tmp_path / "one", f"{cat}:0.5", "-o", tmp_path / "two").code == 0
    one, two = (load_file(tmp_path / name / UNET)[CHANGED] for name in ("both", "two"))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-3)  # the base is float16, and rounded twice


def test_learned_tokens_join_the_tokenizer_and_the_embedding(command: Command, sd: Path, tmp_path: Path) -> None:
    path = token(tmp_path, "ohwxcat", value=0.5)
    done = command("bake", "toybox-sd", path, "-o", tmp_path / "out", "--json")
    assert done.json["tokens"] == ["ohwxcat"]
    old, new = load_file(sd / ENCODER), load_file(tmp_path / "out" / ENCODER)
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    ids: list[int] = tokenizer.convert_tokens_to_ids(["ohwxcat", "ohwxcat_1"])
    (key,) = (key for key in new if key.endswith("token_embedding.weight"))
    assert torch.equal(new[key][ids].float(), torch.full((2, 128), 0.5))
    assert torch.equal(new[key][: min(ids)], old[key][: min(ids)])
    assert ids[0] in tokenizer("a photo of ohwxcat")["input_ids"]
    config = json.loads((tmp_path / "out" / "text_encoder" / "config.json").read_text())
    assert config["vocab_size"] == len(new[key])
    assert (tmp_path / "out" / UNET).read_bytes() == (sd / UNET).read_bytes()


def test_one_token_with_two_meanings_is_a_conflict(command: Command, tmp_path: Path) -> None:
    one, two = token(tmp_path / "a", "ohwxcat", value=1.0), token(tmp_path / "b", "ohwxcat", value=2.0)
    done = command("bake", "toybox-sd", one, two, "-o", tmp_path / "out")
    assert done.code == 4
    assert "'ohwxcat'" in done.line
    assert not (tmp_path / "out").exists()
    assert command("bake", "toybox-sd", one, one, "-o", tmp_path / "out").code == 0


def test_a_word_that_the_tokenizer_has_does_not_lose_its_vector(command: Command, sd: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((sd / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    word = next(word for word in vocabulary if word.isalpha() and word.isascii() and len(word) > 2)
    done = command("bake", "toybox-sd", token(tmp_path, word), "-o", tmp_path / "out")
    assert done.code == 4
    assert f"{word!r} is in the vocabulary" in done.line
    assert not (tmp_path / "out").exists()


def test_a_token_of_another_width_is_for_another_base(command: Command, tmp_path: Path) -> None:
    done = command("bake", "toybox-sd", token(tmp_path, "ohwxcat", width=96), "-o", tmp_path / "out")
    assert done.code == 5
    assert "width 96" in done.line
    assert not (tmp_path / "out").exists()


@pytest.fixture
def copy(sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd, tmp_path / "base"))


def as_pickle(base: Path) -> None:
    for path, name in ((UNET, "diffusion_pytorch_model.bin"), (ENCODER, "pytorch_model.bin")):
        torch.save(load_file(base / path), base / path.parent / name)
        (base / path).unlink()


def as_shards(base: Path) -> None:
    tensors = list(load_file(base / UNET).items())
    index: dict[str, str] = {}
    for at, part in enumerate((tensors[:100], tensors[100:]), 1):
        name = f"diffusion_pytorch_model-{at:05}-of-00002.safetensors"
        save_file(dict(part), base / "unet" / name)
        index |= {key: name for key, _ in part}
    table = {"metadata": {"total_size": 1}, "weight_map": index}
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(table))
    (base / UNET).unlink()


def as_read_only(base: Path) -> None:
    for path in sorted(base.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    base.chmod(0o555)


def as_links(base: Path) -> None:
    blobs = base.parent / "blobs"
    blobs.mkdir()
    for at, path in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        path.rename(blobs / str(at))
        path.symlink_to(blobs / str(at))


@pytest.mark.parametrize("change", [as_pickle, as_shards, as_read_only, as_links])
def test_other_layouts_of_a_base_stay_usable(
    change: Callable[[Path], None], command: Command, sd: Path, copy: Path, cat: Path, tmp_path: Path
) -> None:
    change(copy)
    done = command("bake", copy, cat, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    before, after = lorry.open_base(sd), lorry.open_base(tmp_path / "out")
    assert after.tensors.keys() == before.tensors.keys()
    assert torch.equal(after.tensors[f"unet.{CHANGED}"].torch(), wanted(sd, cat, 1.0))
    for name, ref in before.tensors.items():
        assert name == f"unet.{CHANGED}" or torch.equal(ref.torch(), after.tensors[name].torch())
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o200, f"{path} cannot be written to"
        assert path.suffix != ".bin" or path.parent.name != "unet"
