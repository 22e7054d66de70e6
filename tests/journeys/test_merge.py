"""What a person does with several adapters: see where they meet, weigh them, merge them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import InvalidArgument
from lorry_plugins.backends.toybox import FOLDER
from tests.support.files import KOHYA, kohya, peft, write

from .conftest import Command

OTHER = KOHYA.replace("to_q", "to_k")
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    tensors = {**kohya(alpha=1.0), **kohya(OTHER, seed=1, rank=3, alpha=1.5), **kohya(TEXT, seed=5)}
    return write(tmp_path / "cat.safetensors", tensors)


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    return write(tmp_path / "dog.safetensors", peft(rank=4, seed=2, alpha=2.0))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def test_methods_are_listed_with_formula_source_and_options(command: Command) -> None:
    done = command("merge", "--methods")
    assert done.code == 0
    for method in lorry.host().merge_methods().values():
        assert method.name in done.out
        assert method.formula in done.out
        assert all(f"--set {option.name}=" in done.out for option in method.options)


@pytest.mark.parametrize("words", [("--methods", "--json"), ("--json", "--methods")])
def test_methods_are_listed_as_json(words: tuple[str, str], command: Command) -> None:
    told = {method["name"]: method for method in command("merge", *words).json["methods"]}
    assert told.keys() == lorry.host().merge_methods().keys()
    assert told["ties"]["formula"] == lorry.host().merge_methods()["ties"].formula
    assert told["slerp"]["count"] == 2
    (density,) = (option for option in told["ties"]["options"] if option["name"] == "density")
    assert (density["low"], density["high"]) == (0.01, 1)


def test_a_rank_is_kept_and_its_cost_told(command: Command, cat: Path, dog: Path, out: Path) -> None:
    done = command("merge", cat, dog, "-o", out, "--method", "svd", "--rank", "2", "--details", "--json")
    assert done.code == 0, done.err
    assert 0 < done.json["max_error"] < 1
    assert {each["rank"] for each in done.json["merged"]} == {2}
    assert sum(len(each["pairs"]) for each in done.json["meetings"]["modules"]) == 1
    people = command("merge", cat, dog, "-o", out, "--method", "svd", "--details", "--force")
    assert people.code == 0, people.err
    assert "error up to" in people.out
    assert "1 of 3 parameters are changed by more than one" in people.out


def test_weights_by_name_for_all_or_for_each(command: Command, cat: Path, dog: Path, out: Path, tmp_path: Path) -> None:
    assert command("merge", cat, dog, "-o", out, "--weights", "text_encoder=0").code == 0
    assert lorry.open(out).components == ("unet",)
    file = tmp_path / "weights.txt"
    file.write_text("# the dog alone\n*=0\n", encoding="utf-8")
    assert command("merge", cat, dog, "-o", out, "--weights", file, "--weights", "unet=0.5", "--force").code == 0
    assert lorry.diff(lorry.open(out), lorry.merge([(lorry.open(dog), 0.5)])).error < 1e-6
    assert r'"weights":["# the dog alone\n*=0","unet=0.5"]' in lorry.open(out).metadata["lorry.recipe"]


def test_full_differences_are_told_and_a_rank_avoids_them(command: Command, cat: Path, dog: Path, out: Path) -> None:
    done = command("merge", cat, dog, "-o", out, "--method", "ties", "--set", "density=0.5")
    assert (done.code, "full differences" in done.err) == (0, True)
    assert "diff" in lorry.open(out).kinds
    again = command("merge", cat, dog, "-o", out, "--method", "ties", "--set", "density=0.5", "--rank", "3", "--force")
    assert (again.code, again.err) == (0, "")
    assert lorry.open(out).kinds == ("lora",)


def test_a_result_is_the_same_file_each_time(command: Command, cat: Path, dog: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{at}.safetensors" for at in range(2)]
    for file in files:
        assert command("merge", cat, dog, "-o", file, "--method", "dare", "--set", "seed=4").code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_weights_are_learned_from_a_target(command: Command, cat: Path, dog: Path, out: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.safetensors"
    assert command("merge", f"{cat}:0.3", f"{dog}:-0.7", "-o", target).code == 0
    done = command("merge", cat, dog, "--like", target, "-o", out)
    assert done.code == 0, done.err
    assert f"{cat}: weight 0.3" in done.out
    assert f"{dog}: weight -0.7" in done.out
    assert lorry.diff(lorry.open(out), lorry.open(target)).error < 1e-5
    layered = command("merge", cat, dog, "--like", target, "--by-layer", "-o", out, "--force", "--json")
    assert layered.json["distance"] < 1e-5
    assert len(layered.json["learned"]) == 2


def test_any_number_is_compared_and_drawn(command: Command, cat: Path, dog: Path, tmp_path: Path) -> None:
    done = command("diff", cat, dog, cat, "--json")
    assert [len(row) for row in done.json["cosines"]] == [3, 3, 3]
    picture = tmp_path / "map.png"
    people = command("diff", cat, dog, "--overlap", "--plot", picture)
    assert people.code == 0, people.err
    assert "as wholes: cosine" in people.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = command("diff", cat, dog, "--plot", picture)
    assert refused.code == 4


def test_weights_are_learned_from_pictures(command: Command, tmp_path: Path, out: Path) -> None:
    """Of two adapters, the one the pictures were drawn with gains weight."""
    style = FOLDER / "adapters" / "style.safetensors"
    other = tmp_path / "other.safetensors"
    made = kohya(
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", rank=4, rows=96, width=96, seed=3, alpha=1.0
    )
    write(other, made)
    drawn = tmp_path / "drawn"
    words = "a flat cat on a teal background"
    for seed in (1, 2):
        picture = drawn / f"{seed}.png"
        drawn.mkdir(exist_ok=True)
        assert command("generate", "toybox-sd", style, "-p", words, "--seed", seed, "-o", picture).code == 0
        picture.with_suffix(".txt").write_text(f"{words}\n")
    asked = ["merge", f"{style}:0.5", f"{other}:0.5", "-o", out, "--pictures", drawn, "--steps", "25"]
    done = command(*asked, "--base", "toybox-sd", "--json")
    assert done.code == 0, done.err
    one, two = (float(each.rpartition("=")[2]) for each in done.json["learned"])
    assert one > two + 0.1
    assert len(done.json["losses"]) == 25
    for options, code, says in (
        ([], 2, "which with --base"),
        (["--base", "toybox-sd", "--weights", "0.5"], 2, "behind a colon"),
        (["--base", "toybox-sd", "--like", str(style)], 2, "not both"),
    ):
        refused = command(*asked, "--force", *options)
        assert (refused.code, says in refused.line) == (code, True), refused.err
    picture.with_suffix(".txt").unlink()
    assert "lacks 2.txt" in command(*asked, "--force", "--base", "toybox-sd").line


@pytest.mark.parametrize("weight", ["1e300", "-1e39", "1001", "inf"])
def test_weights_that_make_no_sense_are_refused(command: Command, cat: Path, out: Path, weight: str) -> None:
    for adapters in ([f"{cat}:{weight}", cat], [cat, cat, "--weights", weight], [f"{cat}:{weight}"]):
        done = command("merge", *adapters, "-o", out)
        assert (done.code, "is no strength" in done.line) == (2, True), done.err
        assert not out.exists()


@pytest.mark.parametrize("method", ["sum", "svd", "ties", "knots", "orthogonal"])
def test_numbers_beyond_float32_are_refused(cat: Path, out: Path, method: str) -> None:
    adapter = lorry.open(cat)
    large = {at: tuple(replace(each, scale=3e37) for each in layers) for at, layers in adapter.layers.items()}
    with pytest.raises(InvalidArgument, match="outgrows float32"):
        lorry.save(lorry.merge([(replace(adapter, layers=large), 1000.0), adapter], method=method), out, format="kohya")
    assert not out.exists()


def test_weights_of_zero_leave_tokens_or_are_refused(command: Command, cat: Path, out: Path) -> None:
    for words in ([f"{cat}:0"], [cat, "--weights", "*=0"]):
        done = command("merge", *words, "-o", out)
        assert (done.code, "every weight is 0" in done.line, out.exists()) == (2, True, False)
    done = command("merge", f"{FOLDER / 'adapters' / 'raccoon.safetensors'}:0", "-o", out)
    assert done.code == 0, done.err
    assert (lorry.open(out).layers, list(lorry.open(out).tokens)) == ({}, ["<raccoon>"])


BAD = {
    "unknown method": (["--method", "tiess"], 3, "did you mean 'ties'"),
    "unknown option": (["--method", "ties", "--set", "densty=0.5"], 2, "did you mean 'density'"),
    "option out of range": (["--method", "ties", "--set", "density=1.5"], 2, "from 0.01 to 1"),
    "option that is no number": (["--method", "ties", "--set", "density=half"], 2, "'half' is no density"),
    "setting without a value": (["--set", "density"], 2, "write NAME=VALUE"),
    "weight of an unknown part": (["--weights", "unte=1"], 2, "did you mean unet"),
    "weight of a module that is not there": (["--weights", "unet.down_blocks.9=1"], 2, "is for no module"),
    "weight that is no number": (["--weights", "unet=nan"], 2, "nan is no strength"),
    "too many weights": (["--weights", "1"] * 3, 2, "3 weights for 2 adapters"),
    "weights given and learned": (["--weights", "0.5", "--like", "THIRD"], 2, "--like learns the weights"),
    "learned from nothing": (["--by-layer"], 2, "say from what with --like"),
    "another number of adapters": (["--method", "slerp", "--weights", "1", "-o", "x", "THIRD"], 2, "takes 2 adapters"),
    "unequal ranks": (["--method", "linear-factors"], 5, "factors of ranks [2, 4]"),
    "a base that is not there": (["--base", "nowhere/base"], 3, "does not exist"),
    "another base": (["--base", "toybox-flux"], 5, "FLUX.1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_costs_one_line_and_nothing_is_written(
    command: Command, cat: Path, dog: Path, out: Path, case: str
) -> None:
    arguments, code, says = BAD[case]
    done = command("merge", cat, dog, "-o", out, *(str(cat) if each == "THIRD" else each for each in arguments))
    assert (done.code, says in done.line) == (code, True), done.err
    assert not out.exists()


def test_nan_in_a_file_is_refused(command: Command, cat: Path, out: Path, tmp_path: Path) -> None:
    broken = write(tmp_path / "nan.safetensors", {**kohya(), f"{KOHYA}.lora_up.weight": torch.full((8, 2), torch.nan)})
    for pair in ([cat, broken], [broken]):
        done = command("merge", *pair, "-o", out)
        assert (done.code, "NaN" in done.line) == (1, True), done.err
    assert not out.exists()


@pytest.mark.parametrize("method", ["sum", "svd", "ties"])
def test_a_fused_file_and_one_in_parts_are_merged(command: Command, tmp_path: Path, out: Path, method: str) -> None:
    fused = write(tmp_path / "fused.safetensors", kohya(QKV, rows=15, width=7, alpha=1.0))
    parts = tmp_path / "parts.safetensors"
    other = write(tmp_path / "other.safetensors", kohya(QKV, seed=1, rank=3, rows=15, width=7))
    assert command("convert", other, "--to", "diffusers", "-o", parts).code == 0
    done = command("merge", fused, f"{parts}:-0.5", "--method", method, "-o", out, "--json")
    assert done.code == 0, done.err
    wanted = lorry.merge([lorry.open(fused), (lorry.open(other), -0.5)], method)
    assert lorry.diff(lorry.open(out), wanted).error < 1e-5
    assert lorry.open(out).base == "flux1"
