"""Recipes that people write: nested, planned before anything is done, and gone on with after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from safetensors.torch import load_file

import lorry
from lorry.errors import Conflict, Incompatible, InvalidArgument, LorryWarning
from lorry.ops.extracting import layer as extract_layer
from lorry.recipe.finding import Finder
from lorry.recipe.plan import Step, plan
from lorry.recipe.reading import read_recipe
from lorry.recipe.running import Running
from tests.journeys.conftest import Command
from tests.recipe.conftest import of_kind
from tests.support.files import write

HAND = """
lorry: 1
op: merge
inputs:
  - {adapter: cat.safetensors, weight: 0.7}
  - recipe:  # made on the way
      op: resize
      inputs: [dog.safetensors]
      options: {rank: 2}
    weight: 0.3
  - recipe:
      op: convert
      inputs:
        - recipe: {op: merge, inputs: [cat.safetensors, dog.safetensors]}
      output: {format: diffusers}
options: {method: svd, rank: 3}
output: {format: kohya, dtype: F16}
"""

KILLED = """
import os, signal, sys
recipe, out, where, calls = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
from lorry.ops.disk import output
from lorry.recipe import running
module, name = {"before a step": (running.Running, "_do"), "before a name is given": (output, "_sync")}[where]
do, done = getattr(module, name), []
def stop(*given):
    if len(done) == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(do(*given))
setattr(module, name, stop)
sys.argv[1:] = ["run-recipe", recipe, "-o", out]
from lorry.cli import main
main()
"""


@pytest.fixture
def recipe(cat: Path, dog: Path, tmp_path: Path) -> Path:
    assert cat.parent == dog.parent == tmp_path
    path = tmp_path / "hand.yaml"
    path.write_text(HAND, encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def test_yaml_by_hand_says_what_the_functions_say(
    command: Command, recipe: Path, cat: Path, dog: Path, out: Path
) -> None:
    assert command("run-recipe", recipe, "-o", out).code == 0
    one, two = lorry.open(cat), lorry.open(dog)
    third = lorry.merge([one, two])
    wanted = lorry.merge([(one, 0.7), (lorry.resize(two, rank=2), 0.3), third], "svd", rank=3)
    assert lorry.diff(lorry.open(out), wanted).error < 1e-2  # float16
    assert {str(tensor.dtype) for tensor in load_file(out).values() if tensor.dim()} == {"torch.float16"}


def test_a_plan_is_shown_and_nothing_is_done(command: Command, recipe: Path, out: Path) -> None:
    before = sorted(out.parent.iterdir())
    done = command("run-recipe", recipe, "--dry-run", "--json")
    assert [step["op"] for step in done.json["steps"]] == ["resize", "merge", "convert", "merge"]
    last = done.json["steps"][-1]
    assert last["inputs"][1] == {"step": done.json["steps"][0]["id"]}
    assert last["inputs"][0]["digests"][0].startswith("sha256:")
    for_people = command("run-recipe", recipe, "-o", out, "--dry-run")
    assert "a recipe at 0.3         resize-" in for_people.out
    assert sorted(out.parent.iterdir()) == before


def test_the_same_recipe_makes_the_same_bytes(command: Command, recipe: Path, out: Path) -> None:
    assert command("run-recipe", recipe, "-o", out).code == 0
    for name, source in (("second", recipe), ("third", out)):
        other = out.with_stem(name)
        assert command("run-recipe", source, "-o", other).code == 0
        assert other.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("where", "calls", "steps"),
    [("before a step", 1, 1), ("before a step", 3, 3), ("before a name is given", 1, 1)],
)
def test_a_killed_run_goes_on_where_it_was(
    command: Command, recipe: Path, out: Path, where: str, calls: int, steps: int
) -> None:
    assert command("run-recipe", recipe, "-o", out.with_stem("whole")).code == 0
    words = [sys.executable, "-c", KILLED, str(recipe), str(out), where, str(calls)]
    killed = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=os.environ)
    assert killed.returncode == -9, killed.stderr
    assert not out.exists()
    work = out.parent / f".{out.name}.recipe"
    finished = {path: path.stat().st_mtime_ns for path in work.glob("*/*") if not path.name.startswith(".")}
    assert len(finished) == steps
    plan = command("run-recipe", recipe, "-o", out, "--dry-run", "--json").json["steps"]
    assert [step["finished"] for step in plan] == [True] * steps + [False] * (4 - steps)
    kept: list[bool] = []
    do = Running._do

    def watched(self: Running, step: Step) -> None:
        kept.append(all(path.stat().st_mtime_ns == made for path, made in finished.items()))
        do(self, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Running, "_do", watched)
        done = command("run-recipe", recipe, "-o", out)
    assert done.code == 0, done.err
    assert kept == [True] * (4 - steps)
    assert out.read_bytes() == out.with_stem("whole").read_bytes()
    assert not work.exists()


def test_an_interruption_says_what_is_kept(
    command: Command, recipe: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("lorry.recipe.steps.Resizing.run", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command("run-recipe", recipe, "-o", out).code == 130
        assert not list(out.parent.glob(".*"))
    with monkeypatch.context() as patched:
        patched.setattr("lorry.recipe.steps.convert", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        stopped = command("run-recipe", recipe, "-o", out)
    assert (stopped.code, "2 of 4 steps finished and kept" in stopped.err) == (130, True)
    assert command("run-recipe", recipe, "-o", out).code == 0
    assert not list(out.parent.glob(".*"))


def test_a_change_of_an_input_is_another_step(command: Command, recipe: Path, dog: Path) -> None:
    before = [step["id"] for step in command("run-recipe", recipe, "--dry-run", "--json").json["steps"]]
    write(dog, {key: tensor * 2 for key, tensor in load_file(dog).items()})
    after = [step["id"] for step in command("run-recipe", recipe, "--dry-run", "--json").json["steps"]]
    assert not set(before) & set(after)


def test_an_extraction_within_goes_on_layer_by_layer(
    command: Command, cat: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bake = {"op": "bake", "base": str(base), "inputs": [str(cat)]}
    recipe = {"op": "extract", "tuned": {"recipe": bake}, "base": str(base), "options": {"rank": 3}}
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    assert command("run-recipe", tmp_path / "r.json", "-o", whole).code == 0
    finished: list[object] = []
    cut = extract_layer.cut_pairs

    def counted(*given: Any) -> Any:
        if len(finished) == 40:
            raise KeyboardInterrupt
        finished.append(given)
        return cut(*given)

    monkeypatch.setattr("lorry.ops.extracting.extract.cut_pairs", counted)
    assert command("run-recipe", tmp_path / "r.json", "-o", out).code == 130
    assert len(list(tmp_path.glob(".*.recipe/*/.extraction/*.safetensors"))) == 40
    finished[:] = [None] * 41
    assert command("run-recipe", tmp_path / "r.json", "-o", out).code == 0
    again = len(finished) - 41
    finished[:] = [None] * 41
    assert command("run-recipe", tmp_path / "r.json", "-o", tmp_path / "other.safetensors").code == 0
    assert again == len(finished) - 41 - 40
    assert out.read_bytes() == whole.read_bytes()


def test_equal_steps_are_done_once(cat: Path, tmp_path: Path) -> None:
    small = {"recipe": {"op": "resize", "inputs": [str(cat)], "options": {"rank": 2}}}
    ran = lorry.run_recipe({"op": "merge", "inputs": [small, {**small, "weight": 0.5}]}, tmp_path / "out.safetensors")
    assert [step.recipe.op for step in ran.steps] == ["resize", "merge"]


def test_a_terminal_is_asked_first(command: Command, recipe: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(click.Abort))
    done = command("run-recipe", recipe, "-o", out)
    assert (done.code, "to do" in done.out, out.exists()) == (130, True, False)
    assert command("run-recipe", recipe, "-o", out, "-y").code == 0


def test_what_was_changed_in_memory_is_told_and_not_made_again(cat: Path, base: Path, tmp_path: Path) -> None:
    small = lorry.resize(lorry.open(cat), rank=1)
    lorry.write_base(lorry.bake(lorry.open_base(base), [small]), tmp_path / "baked")
    with pytest.raises(InvalidArgument, match="changed in memory"):
        lorry.run_recipe(tmp_path / "baked", tmp_path / "again")


def test_somebody_elses_folder_is_left_alone(recipe: Path, out: Path) -> None:
    strange = out.parent / f".{out.name}.recipe"
    strange.mkdir()
    (strange / "diary.txt").write_text("mine")
    with pytest.raises(Conflict, match="move it away"):
        lorry.run_recipe(recipe, out)
    assert (strange / "diary.txt").read_text() == "mine"


def test_two_runs_to_one_output_are_not_mixed(command: Command, recipe: Path, out: Path) -> None:
    read = read_recipe(recipe)
    first = Running(read, plan(read.recipe, Finder(plugins=lorry.host(), folder=read.folder)), out).run()
    next(first)
    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
    done = command("run-recipe", recipe, "-o", out)
    assert (done.code, "is being made by another run" in done.line) == (4, True), done.err
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
    assert len(list(first)) == 3
    assert command("run-recipe", recipe, "-o", out, "--force").code == 0
    assert not list(out.parent.glob(".*"))


def test_what_is_there_is_not_replaced_without_a_word(command: Command, recipe: Path, out: Path) -> None:
    out.write_bytes(b"mine")
    assert command("run-recipe", recipe, "-o", out).code == 4
    assert out.read_bytes() == b"mine"
    assert command("run-recipe", recipe, "-o", out, "--force").code == 0
    itself = command("run-recipe", out, "-o", out, "--force")
    assert (itself.code, "choose another output" in itself.line) == (2, True)


def test_a_token_that_goes_by_the_name_of_its_file_is_not_renamed_on_the_way(tmp_path: Path) -> None:
    import torch

    token = write(tmp_path / "ohwx.safetensors", {"emb_params": torch.ones(2, 768)})
    inner = {"op": "convert", "inputs": [str(token)], "output": {"format": "kohya-embedding"}}
    with pytest.raises(Incompatible, match="name of its file"):
        lorry.run_recipe({"op": "merge", "inputs": [{"recipe": inner}]}, tmp_path / "out.safetensors")


def test_a_nested_step_that_comes_out_otherwise_is_told(cat: Path, dog: Path, tmp_path: Path) -> None:
    inner = {"op": "resize", "inputs": [str(dog)], "expect": {"tensor_digest": f"blake3:{'0' * 64}"}}
    recipe = {"op": "merge", "inputs": [str(cat), {"recipe": inner}]}
    with pytest.warns(LorryWarning, match="other tensors"):
        lorry.run_recipe(recipe, tmp_path / "out.safetensors")


def test_the_options_of_a_recipe_file_are_for_one_adapter(command: Command, cat: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch = command("convert", cat, "--to", "diffusers", "--out-dir", out, "--recipe", tmp_path / "r.json")
    assert batch.code == 2
    twice = command("merge", cat, "-o", tmp_path / "r.json", "--recipe", tmp_path / "r.json")
    assert (twice.code, "give each a file of its own" in twice.line) == (2, True)
    (tmp_path / "r.json").write_text(json.dumps({"mine": True}))
    there = command("merge", cat, "-o", tmp_path / "out.safetensors", "--recipe", tmp_path / "r.json")
    assert there.code == 4
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "says", "code"),
    [
        ({"options": {"method": "tise"}}, "did you mean 'ties'", 3),
        ({"options": {"method": "ties", "settings": {"densty": 0.5}}}, "did you mean 'density'", 2),
        ({"options": {"method": "ties", "settings": {"density": 7}}}, "is no density", 2),
        ({"options": {"method": "slerp"}}, "takes 2 adapters", 2),
        ({"output": {"format": "kohia"}}, "did you mean 'kohya'", 3),
        ({"op": "resize", "options": {"rank": 2, "energy": 0.9}}, "cannot both decide", 2),
        ({"op": "resize", "options": {"size": "big"}}, "is no size", 2),
        ({"op": "convert-base", "inputs": [], "output": {"layout": "x", "shard_size": "big"}, "base": "x"},
         "is no size", 2),
    ],
)  # fmt: skip
def test_what_means_nothing_is_told_with_the_plan(
    command: Command, cat: Path, out: Path, change: dict[str, Any], says: str, code: int
) -> None:
    first = {"op": "resize", "inputs": [cat.name], "options": {"rank": 1}}
    written = {"op": "merge", "inputs": [{"recipe": first}], **change}
    if not written["inputs"]:
        del written["inputs"]
    path = out.with_suffix(".json")
    path.write_text(json.dumps(written), encoding="utf-8")
    done = command("run-recipe", path, "--dry-run")
    assert (done.code, says in done.err) == (code, True), done.err
    assert f"the recipe's {written['op']}: " in done.err


def test_where_the_format_cannot_hold_it_the_recipe_is_what_to_change(command: Command, tmp_path: Path) -> None:
    of_kind("loha", tmp_path / "loha.safetensors")
    for op, says in (("convert", "write 'lossy: true' in its options"), ("merge", "a step 'op: convert'")):
        recipe = tmp_path / f"{op}.json"
        text = {"op": op, "inputs": ["loha.safetensors"], "output": {"format": "diffusers"}}
        recipe.write_text(json.dumps(text), encoding="utf-8")
        done = command("run-recipe", recipe, "-o", tmp_path / "out.safetensors", "-y")
        assert done.code == 5
        assert f"as format in the output of the recipe's {op} write one that can hold all of it" in done.err
        assert says in done.err
        assert "lorry convert" not in done.err
