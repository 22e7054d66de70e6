"""A bake is undone to the byte, from the originals kept beside it or from the base it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lorry
from lorry_plugins.backends import toybox
from lorry_plugins.backends.toybox import bases
from tests.support.checkpoints import save
from tests.support.files import kohya, write

from .conftest import Command

ADAPTERS = Path(toybox.__file__).parent / "adapters"
UNET = Path("unet/diffusion_pytorch_model.safetensors")


class Made(NamedTuple):
    """A small base in two of its layouts."""

    folder: Path
    single: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("sd1", tmp_path_factory.mktemp("bases") / "folder")


@pytest.fixture(scope="module")
def single(folder: Path) -> Path:
    path = folder.parent / "single.safetensors"
    lorry.convert_base(lorry.open_base(folder), path, "ldm")
    return path


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    return write(tmp_path / "cat.safetensors", kohya(alpha=1.0))


def files(path: Path) -> dict[str, bytes]:
    found = [path] if path.is_file() else path.rglob("*")
    return {str(each.relative_to(path)): each.read_bytes() for each in found if each.is_file()}


def as_single(made: Made, base: Path) -> Path:
    return shutil.copyfile(made.single, base.with_suffix(".safetensors"))


def in_another_order(made: Made, base: Path) -> Path:
    """Write a file as tools do that are not the official library: another order, blanks, a header of their own."""
    tensors = load_file(made.single)
    header: dict[str, object] = {"__metadata__": {"title": "mine", "sshs_model_hash": "0" * 64}}
    data = b""
    for key, tensor in sorted(tensors.items(), reverse=True):
        piece = tensor.numpy().tobytes()
        entry = {"shape": list(tensor.shape), "dtype": "F32", "data_offsets": [len(data), len(data) + len(piece)]}
        header[key] = entry
        data += piece
    text = json.dumps(header, indent=1).encode()
    base.with_suffix(".safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return base.with_suffix(".safetensors")


def as_pickle(made: Made, base: Path) -> Path:
    torch.save({"state_dict": load_file(made.single), "epoch": 3}, base.with_suffix(".ckpt"))
    return base.with_suffix(".ckpt")


def as_folder(made: Made, base: Path) -> Path:
    return Path(shutil.copytree(made.folder, base))


def as_shards(made: Made, base: Path) -> Path:
    shutil.copytree(made.folder, base)
    tensors = list(load_file(base / UNET).items())
    index: dict[str, str] = {}
    for at, part in enumerate((tensors[:100], tensors[100:300], tensors[300:]), 1):
        name = f"diffusion_pytorch_model-{at:05}-of-00003.safetensors"
        save_file(dict(part), base / "unet" / name)
        index |= {key: name for key, _ in part}
    table = {"metadata": {"total_size": 1}, "weight_map": index}
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(table))
    (base / UNET).unlink()
    return base


def as_pickled_folder(made: Made, base: Path) -> Path:
    shutil.copytree(made.folder, base)
    torch.save(load_file(base / UNET), base / "unet" / "diffusion_pytorch_model.bin")
    (base / UNET).unlink()
    return base


Make = Callable[[Made, Path], Path]
SHAPES: list[Make] = [as_single, in_another_order, as_pickle, as_folder, as_shards, as_pickled_folder]


@pytest.mark.parametrize("make", SHAPES)
def test_every_byte_comes_back_from_the_originals(
    make: Make, command: Command, folder: Path, single: Path, cat: Path, tmp_path: Path
) -> None:
    base = make(Made(folder, single), tmp_path / "base")
    out = tmp_path / ("out" if base.is_dir() else "out.safetensors")
    done = command("bake", base, cat, "-o", out, "--keep-originals")
    assert done.code == 0, done.err
    before = files(base)
    assert files(out) != before
    assert (tmp_path / f"{out.name}.originals").stat().st_size < 0.6 * sum(map(len, before.values()))
    base.rename(tmp_path / "gone")
    done = command("bake", "--undo", out, "-o", tmp_path / "undone", "--json")
    assert done.code == 0, done.err
    assert files(tmp_path / "undone") == before
    assert done.json["from_originals"] > 0
    assert done.json["from_base"] == 0


@pytest.mark.parametrize("make", [as_pickle, as_shards])
def test_every_byte_comes_back_from_the_base(
    make: Make, command: Command, folder: Path, single: Path, cat: Path, tmp_path: Path
) -> None:
    base = make(Made(folder, single), tmp_path / "base")
    out = tmp_path / ("out" if base.is_dir() else "out.safetensors")
    assert command("bake", base, cat, "-o", out).code == 0
    done = command("bake", "--undo", out, "-o", tmp_path / "undone", "--json")
    assert done.code == 0, done.err
    assert files(tmp_path / "undone") == files(base)
    assert done.json["from_base"] > 0


def test_learned_tokens_go_again(command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    token = write(tmp_path / "token" / "ohwxcat.safetensors", {"emb_params": torch.ones(2, 128)})
    assert command("bake", "toybox-sd", token, "-o", tmp_path / "out", "--keep-originals").code == 0
    assert files(tmp_path / "out" / "tokenizer") != files(Path(bases()["toybox-sd"]) / "tokenizer")
    done = command("bake", tmp_path / "out", "--undo", "-o", tmp_path / "undone")
    assert done.code == 0, done.err
    assert files(tmp_path / "undone") == files(Path(bases()["toybox-sd"]))


def test_in_its_own_place(command: Command, single: Path, cat: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert command("bake", single, cat, "-o", out, "--keep-originals").code == 0
    assert command("bake", "--undo", out).code == 4
    assert command("bake", "--undo", out, "--force").code == 0
    assert out.read_bytes() == single.read_bytes()


def test_one_after_the_other(command: Command, single: Path, cat: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert command("bake", single, cat, "-o", one, "--keep-originals").code == 0
    assert command("bake", one, f"{cat}:0.5", "-o", two, "--keep-originals").code == 0
    with safe_open(two, "pt") as file:
        told = json.loads(file.metadata()["lorry.recipe"])
    assert told["inputs"][0]["weight"] == 0.5
    assert told["base"]["recipe"]["inputs"][0]["weight"] == 1.0
    assert command("bake", "--undo", two, "-o", tmp_path / "back.safetensors").code == 0
    assert (tmp_path / "back.safetensors").read_bytes() == one.read_bytes()


@pytest.mark.parametrize("keep", [[], ["--keep-originals"]])
def test_the_last_of_two_bakes_that_changed_other_files(keep: list[str], command: Command, tmp_path: Path) -> None:
    one, two, undone = tmp_path / "one", tmp_path / "two", tmp_path / "undone"
    assert command("bake", "toybox-sd", ADAPTERS / "raccoon.safetensors", "-o", one).code == 0  # a token, and the U-Net
    assert command("bake", one, ADAPTERS / "style.safetensors", "-o", two, *keep).code == 0  # the U-Net alone
    before = files(one)
    if keep:
        one.rename(tmp_path / "gone")
    done = command("bake", "--undo", two, "-o", undone, "--json")
    assert done.code == 0, done.err
    assert files(undone) == before
    assert (done.json["from_originals"], done.json["from_base"]) == ((1, 0) if keep else (0, 1))


def test_files_of_two_bakes_put_together(command: Command, folder: Path, cat: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert command("bake", folder, cat, "-o", one).code == 0
    assert command("bake", folder, f"{cat}:0.5", "-o", two, "--dtype", "F16").code == 0
    shutil.copyfile(one / UNET, two / UNET)
    done = command("bake", "--undo", two, "-o", tmp_path / "undone")
    assert (done.code, "several bakes" in done.line) == (1, True), done.err
    assert not (tmp_path / "undone").exists()


def test_another_layout_is_undone_from_the_base(command: Command, folder: Path, cat: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert command("bake", folder, cat, "-o", out, "--to", "ldm", "--dtype", "F16").code == 0
    assert command("bake", "--undo", out, "-o", tmp_path / "undone").code == 0
    assert files(tmp_path / "undone") == files(folder)


@pytest.mark.parametrize("layout", [["ldm"], ["diffusers", "--shard-size", "100KB"]], ids=" ".join)
def test_what_was_converted_since_is_undone_with_the_bake(
    layout: list[str], command: Command, folder: Path, cat: Path, tmp_path: Path
) -> None:
    baked, out = tmp_path / "baked", tmp_path / ("out.safetensors" if "ldm" in layout else "out")
    assert command("bake", folder, cat, "-o", baked).code == 0
    assert command("convert-base", baked, "-o", out, "--to", *layout).code == 0
    shutil.rmtree(baked)
    done = command("bake", "--undo", out, "-o", tmp_path / "undone")
    assert done.code == 0, done.err
    assert files(tmp_path / "undone") == files(folder)


def test_a_base_that_has_moved_is_pointed_at(command: Command, single: Path, cat: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    base = shutil.copyfile(single, tmp_path / "here" / "base.safetensors")
    out = tmp_path / "out.safetensors"
    assert command("bake", base, cat, "-o", out).code == 0
    moved = base.rename(tmp_path / "moved.safetensors")
    done = command("bake", "--undo", out, "-o", tmp_path / "undone")
    assert done.code == 3
    assert "base.safetensors is neither in" in done.line
    assert "--base" in done.line
    assert command("bake", "--undo", out, "-o", tmp_path / "undone", "--base", moved).code == 0
    assert (tmp_path / "undone").read_bytes() == single.read_bytes()


class Baked(NamedTuple):
    """What a bake was given and what it wrote."""

    base: Path
    out: Path

    @property
    def originals(self) -> Path:
        return self.out.with_name(f"{self.out.name}.originals")


def changed_base(baked: Baked) -> None:
    data = bytearray(baked.base.read_bytes())
    data[-1] ^= 1
    baked.base.write_bytes(data)


def damaged_originals(baked: Baked) -> None:
    data = bytearray(baked.originals.read_bytes())
    data[-1] ^= 1
    baked.originals.write_bytes(data)


def foreign_originals(baked: Baked) -> None:
    write(baked.originals, {"": torch.zeros(3, dtype=torch.uint8)}, {"lorry.originals": "{}"})


def originals_that_are_no_list(baked: Baked) -> None:
    write(baked.originals, {"": torch.zeros(3, dtype=torch.uint8)}, {"lorry.originals": "[1"})


def no_recipe(baked: Baked) -> None:
    shutil.copyfile(baked.base, baked.out)


def a_recipe_of_something_else(baked: Baked) -> None:
    write(baked.out, load_file(baked.base), {"lorry.recipe": '{"op":"merge","inputs":[]}'})


def a_recipe_that_reaches_out(baked: Baked) -> None:
    told = {"base": {"name": "x", "path": ".", "files": {"../../evil": "blake3:00"}}}
    write(baked.out, load_file(baked.base), {"lorry.recipe": json.dumps(told)})


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (changed_base, 8, "is not what"),
        (damaged_originals, 8, "is not what"),
        (foreign_originals, 1, "does not belong to"),
        (originals_that_are_no_list, 1, "does not belong to"),
        (no_recipe, 1, "has no recipe"),
        (a_recipe_of_something_else, 1, "tells of no base"),
        (a_recipe_that_reaches_out, 1, "outside its folder"),
    ],
)
def test_what_cannot_be_undone_leaves_nothing(
    damage: Callable[[Baked], None],
    code: int,
    says: str,
    command: Command,
    single: Path,
    cat: Path,
    tmp_path: Path,
) -> None:
    base, out = shutil.copyfile(single, tmp_path / "base.safetensors"), tmp_path / "out.safetensors"
    keep = ["--keep-originals"] if damage is damaged_originals else []
    assert command("bake", base, cat, "-o", out, *keep).code == 0
    damage(Baked(base, out))
    before = {path.name for path in tmp_path.iterdir()}
    done = command("bake", "--undo", out, "-o", tmp_path / "undone")
    assert (done.code, says in done.line) == (code, True), done.err
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["x.safetensors", "x.CKPT"])
def test_a_folder_is_not_named_as_a_file(name: str, command: Command, folder: Path, cat: Path, tmp_path: Path) -> None:
    assert command("bake", folder, cat, "-o", tmp_path / "out").code == 0
    for words in (["bake", folder, cat], ["bake", "--undo", tmp_path / "out"]):
        done = command(*words, "-o", tmp_path / name)
        assert (done.code, "would be taken for a file" in done.line) == (2, True), done.err
        assert not (tmp_path / name).exists()


def test_words_that_make_no_sense(command: Command, single: Path, cat: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert command("bake", single, "-o", out).code == 2
    assert command("bake", single, cat).code == 2
    assert command("bake", "--undo", single, cat, "-o", out).code == 2
    assert command("bake", single, cat, "-o", out, "--base", single).code == 2
    assert command("bake", single, cat, "-o", out, "--device", "abacus").code == 2
    assert command("bake", single, cat, "-o", out, "--device", "cuda:99").code == 2
    assert command("bake", single, cat, "-o", out, "--to", "diffusers", "--keep-originals").code == 2
    assert not out.exists()
