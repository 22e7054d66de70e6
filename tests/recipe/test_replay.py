"""What any operation makes is made again, to the byte, from the recipe it wrote and from its own header."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lorry
from lorry.ops.disk.tensor_digest import digest_of
from lorry.ops.headers.recipe import told_model
from lorry.plugin.host import host
from lorry.recipe.document import RECIPE, canonical
from lorry.recipe.reading import read_recipe
from tests.journeys.conftest import Command
from tests.support import checkpoints
from tests.support.files import write

from .conftest import of_kind

METHODS = [name for name, method in host().merge_methods().items() if method.count in (None, 2)]


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files}


def again(command: Command, out: Path, recipe: str | Path, *more: str | Path) -> None:
    """Run a recipe beside what it made, and hold the results against each other."""
    second = out.with_name(f"again-{out.name}")
    done = command("run-recipe", recipe, "-o", second, "-y", *more)
    assert (done.code, done.err) == (0, "")
    assert "every tensor as before" in done.out
    assert contents(second) == contents(out)
    assert sorted(path.name for path in out.parent.iterdir() if path.name.startswith(".")) == []


def made(command: Command, out: Path, *words: str | Path) -> Path:
    """Run an operation that writes its recipe; return the recipe, which says in full what its header says."""
    file = out.parent / "recipe.json"
    done = command(*words, "-o", out, "--recipe", file)
    assert done.code == 0, done.err
    told = json.loads(file.read_text())
    assert told["expect"]["tensor_digest"] == digest_of(out)
    assert canonical(RECIPE.validate_python(told)) == canonical(read_recipe(file).recipe)
    return file


@pytest.mark.parametrize("method", METHODS)
def test_every_merge_method(command: Command, cat: Path, dog: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out.safetensors"
    recipe = made(command, out, "merge", f"{cat}:0.7", f"{dog}:0.4", "--method", method)
    again(command, out, recipe)
    (tmp_path / f"again-{out.name}").unlink()
    again(command, out, out)


@pytest.mark.parametrize("kind", ["loha", "lokr", "diff", "ia3", "dora"])
def test_a_merge_of_any_kind(command: Command, cat: Path, base: Path, tmp_path: Path, kind: str) -> None:
    other, out = of_kind(kind, tmp_path / "other.safetensors"), tmp_path / "out.safetensors"
    recipe = made(command, out, "merge", cat, f"{other}:0.5", "--base", base, "--rank", "3", "--dtype", "F16")
    again(command, out, recipe)


def test_weights_stand_in_the_recipe_whether_told_or_learned(
    command: Command, cat: Path, dog: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "weights.txt"
    rules.write_text("*=0.25  # little\nunet=0.5\n", encoding="utf-8")
    out = tmp_path / "out.safetensors"
    recipe = made(command, out, "merge", cat, dog, "--weights", rules)
    rules.unlink()
    again(command, out, recipe)
    target = tmp_path / "target.safetensors"
    assert command("merge", f"{cat}:0.3", f"{dog}:0.6", "-o", target).code == 0
    learned = tmp_path / "learned.safetensors"
    recipe = tmp_path / "learned.json"
    words = ("merge", cat, dog, "--like", target, "--by-layer")
    assert command(*words, "-o", learned, "--recipe", recipe).code == 0
    target.unlink()
    again(command, learned, recipe)


RESIZES = (
    ["--rank", "2"], ["--energy", "0.8"], ["--error", "0.3"], ["--ratio", "4"], ["--size", "3500"],
    ["--rank", "2", "--dtype", "BF16", "--to", "peft"],
)  # fmt: skip


@pytest.mark.parametrize("asked", RESIZES, ids=" ".join)
def test_a_resize(command: Command, cat: Path, tmp_path: Path, asked: list[str]) -> None:
    out = tmp_path / ("out" if "peft" in asked else "out.safetensors")
    again(command, out, made(command, out, "resize", cat, *asked))


CONVERSIONS = (
    ["--to", "diffusers"], ["--to", "diffusers", "--dtype", "F16"], ["--to", "kohya", "--dtype", "BF16"],
    ["--to", "peft"], ["--to", "kohya"],
)  # fmt: skip


@pytest.mark.parametrize("asked", CONVERSIONS, ids=" ".join)
def test_a_conversion(command: Command, cat: Path, tmp_path: Path, asked: list[str]) -> None:
    out = tmp_path / ("out" if "peft" in asked else "out.safetensors")
    again(command, out, made(command, out, "convert", cat, *asked))


def test_a_conversion_of_what_its_format_cannot_hold(command: Command, tmp_path: Path) -> None:
    loha, out = of_kind("loha", tmp_path / "loha.safetensors"), tmp_path / "out.safetensors"
    again(command, out, made(command, out, "convert", loha, "--to", "diffusers", "--lossy", "--rank", "2"))


def test_an_adapter_in_several_files(command: Command, cat: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cat-peft"
    assert command("convert", cat, "--to", "peft", "-o", folder).code == 0
    out = tmp_path / "out.safetensors"
    recipe = made(command, out, "convert", folder, "--to", "kohya")
    assert set(read_recipe(recipe).recipe.inputs[0].files) == {"adapter_model.safetensors", "adapter_config.json"}
    again(command, out, recipe)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in folder.iterdir():
        file.rename(moved / file.name)
    (tmp_path / f"again-{out.name}").unlink()
    again(command, out, recipe, "--find-in", moved)


@pytest.mark.parametrize("layout", [[], ["--to", "ldm"], ["--dtype", "F16"]], ids=["own", "ldm", "F16"])
def test_a_bake(command: Command, cat: Path, dog: Path, base: Path, tmp_path: Path, layout: list[str]) -> None:
    out = tmp_path / ("out.safetensors" if "ldm" in layout else "out")
    recipe = made(command, out, "bake", base, f"{cat}:0.5", dog, *layout)
    again(command, out, recipe)
    second = out.with_name(f"again-{out.name}")
    second.unlink() if second.is_file() else shutil.rmtree(second)
    again(command, out, out)


LAID_OUT = {
    "one file": (["--to", "ldm"], "single.safetensors"),
    "shards": (["--to", "diffusers", "--shard-size", "20KB"], "shards"),
    "configurations of another": (["--to", "diffusers", "--like", "small"], "folder"),
}


@pytest.mark.parametrize("asked", LAID_OUT)
def test_a_base_in_another_layout(command: Command, base: Path, tmp_path: Path, asked: str) -> None:
    words, name = LAID_OUT[asked]
    source, out = base, tmp_path / name
    if "--like" in words:
        shutil.copytree(base, tmp_path / "small")
        source, words = tmp_path / "source.safetensors", [*words[:-1], str(tmp_path / "small")]
        assert command("convert-base", base, "--to", "ldm", "-o", source).code == 0
    recipe = made(command, out, "convert-base", source, *words)
    again(command, out, recipe)
    told = command("run-recipe", out, "-o", tmp_path / "from-header")
    assert "no recipe in its header" in told.line  # for a base comes back byte for byte


def test_a_base_that_its_layout_cannot_hold(command: Command, tmp_path: Path) -> None:
    source, out = checkpoints.save("flux1", tmp_path / "flux"), tmp_path / "out.safetensors"
    recipe = made(command, out, "convert-base", source, "--to", "bfl", "--lossy")
    again(command, out, recipe)
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), "options": {}}))
    strict = command("run-recipe", recipe, "-o", tmp_path / "strict.safetensors")
    assert (strict.code, "vae: it holds no such component" in strict.line) == (5, True)


def test_a_converted_bake_and_a_bake_on_it(command: Command, cat: Path, dog: Path, base: Path, tmp_path: Path) -> None:
    baked, single, out = tmp_path / "baked", tmp_path / "single.safetensors", tmp_path / "out.safetensors"
    assert command("bake", base, cat, "-o", baked).code == 0
    recipe = made(command, single, "convert-base", baked, "--to", "ldm")
    again(command, single, recipe)
    (tmp_path / f"again-{single.name}").unlink()
    again(command, single, single)
    recipe.unlink()
    recipe = made(command, out, "bake", single, f"{dog}:0.5")
    told = read_recipe(recipe).recipe
    nested = [told.op]
    while (model := getattr(told, "base", None)) and model.recipe:
        told = model.recipe
        nested.append(told.op)
    assert nested == ["bake", "convert-base", "bake"]
    again(command, out, recipe)
    single.unlink()
    shutil.rmtree(baked)
    done = command("run-recipe", out, "-o", tmp_path / "second.safetensors", "--input", f"small={base}")
    assert (done.code, "made in 3 steps, every tensor as before" in done.out) == (0, True), done.err


EXTRACTIONS = (["--rank", "3"], ["--energy", "0.9", "--conv", "tucker"], ["--full"], ["--size", "20KB", "--to", "peft"])


@pytest.mark.parametrize("asked", EXTRACTIONS, ids=" ".join)
def test_an_extraction(command: Command, cat: Path, base: Path, tmp_path: Path, asked: list[str]) -> None:
    tuned, out = tmp_path / "tuned", tmp_path / ("out" if "peft" in asked else "out.safetensors")
    assert command("bake", base, cat, "-o", tuned).code == 0
    again(command, out, made(command, out, "extract", tuned, base, *asked))


def test_a_recipe_file_tells_paths_as_seen_from_where_it_stands(
    command: Command, cat: Path, dog: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shelf = tmp_path / "recipes"
    shelf.mkdir()
    recipe, out = shelf / "both.json", tmp_path / "out.safetensors"
    words = ("merge", f"{cat.name}:0.5", dog.name, "--base", base, "-o", out, "--recipe", recipe)
    assert command(*words).code == 0
    told = read_recipe(recipe).recipe
    assert [each.adapter for each in told.inputs] == ["../cat.safetensors", "../dog.safetensors"]
    monkeypatch.chdir("/")
    again(command, out, recipe)


@pytest.mark.parametrize("verb", ["bake", "convert-base"])
def test_a_base_that_is_replaced_is_told_as_it_was(
    verb: str, command: Command, cat: Path, base: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    lorry.convert_base(lorry.open_base(base), own, "ldm")
    save_file({**load_file(own), "stray": torch.ones(1)}, own)
    before = told_model(lorry.open_base(own), host())["files"]
    words = [own, cat] if verb == "bake" else [own, "--to", "ldm", "--lossy"]
    done = command(verb, *words, "-o", own, "--force", "--recipe", tmp_path / "r.json")
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["base"]["files"] == before
    assert told["expect"]["tensor_digest"] == digest_of(own)


def test_models_that_were_moved_are_found_by_name_and_digest(
    command: Command, cat: Path, base: Path, tmp_path: Path
) -> None:
    tuned, out = tmp_path / "tuned", tmp_path / "out.safetensors"
    assert command("bake", base, cat, "-o", tuned).code == 0
    recipe = made(command, out, "extract", tuned, base, "--rank", "3")
    shelf = tmp_path / "shelf"
    (shelf / "wrong").mkdir(parents=True)
    shutil.copytree(base, shelf / "wrong" / "tuned")  # of that name, and another model
    tuned.rename(shelf / "tuned")
    again(command, out, recipe, "--find-in", shelf)
    lost = command("run-recipe", recipe, "-o", tmp_path / "lost.safetensors", "--input", f"tuned={base}")
    assert (lost.code, "its digests differ" in lost.line) == (8, True)


def test_what_made_a_model_is_made_again_with_it(command: Command, cat: Path, base: Path, tmp_path: Path) -> None:
    tuned, out = tmp_path / "tuned", tmp_path / "out.safetensors"
    assert command("bake", base, cat, "-o", tuned).code == 0
    recipe = made(command, out, "extract", tuned, base, "--rank", "3")
    shutil.rmtree(tuned)
    second = tmp_path / "second.safetensors"
    done = command("run-recipe", recipe, "-o", second, "--input", f"small={base}")
    assert (done.code, "made in 2 steps, every tensor as before" in done.out) == (0, True), done.err


def test_another_result_is_told_and_kept(command: Command, cat: Path, dog: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    recipe = made(command, out, "merge", cat, dog)
    told = json.loads(recipe.read_text())
    told["inputs"][0]["weight"] = 0.5
    recipe.write_text(json.dumps(told))
    done = command("run-recipe", recipe, "-o", tmp_path / "other.safetensors")
    assert (done.code, "is not what the recipe made before" in done.line) == (8, True)
    assert (tmp_path / "other.safetensors").exists()


def test_rounding_is_told_from_a_difference(command: Command, cat: Path, dog: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    made(command, out, "merge", cat, dog)
    opened = lorry.open(out)
    tensors = {key: ref.torch() * (1 + 1e-6) for key, ref in opened.origin[0].source.tensors.items()}
    write(out, tensors, opened.metadata)
    near = command("run-recipe", out, "-o", tmp_path / "near.safetensors")
    assert (near.code, "as before but for rounding" in near.out) == (0, True), near.err
    write(out, {key: tensor * 1.01 for key, tensor in tensors.items()}, opened.metadata)
    far = command("run-recipe", out, "-o", tmp_path / "far.safetensors")
    assert (far.code, "is tolerated" in far.line) == (8, True)


def test_as_many_threads_are_at_work_again(command: Command, cat: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "out.safetensors", torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        recipe = made(command, out, "resize", cat, "--rank", "2")
    finally:
        torch.set_num_threads(before)
    assert read_recipe(recipe).recipe.by.threads == before + 1
    again(command, out, recipe)  # the header too, which tells how many there were
    assert torch.get_num_threads() == before


def test_the_front_door(cat: Path, dog: Path, tmp_path: Path) -> None:
    recipe = {
        "op": "merge",
        "inputs": [
            str(cat),
            {"recipe": {"op": "resize", "inputs": [str(dog)], "options": {"rank": 2}}, "weight": 0.5},
        ],
    }
    ran = lorry.run_recipe(recipe, tmp_path / "out.safetensors")
    assert [step.recipe.op for step in ran.steps] == ["resize", "merge"]
    small = lorry.resize(lorry.open(dog), rank=2)
    wanted = lorry.merge([lorry.open(cat), (small, 0.5)])
    assert lorry.diff(lorry.open(ran.path), wanted).error < 1e-6
    assert lorry.run_recipe(ran.path, tmp_path / "again.safetensors").compared is not None
    assert (tmp_path / "again.safetensors").read_bytes() == ran.path.read_bytes()
    assert lorry.read_recipe(ran.path).recipe.op == "merge"
