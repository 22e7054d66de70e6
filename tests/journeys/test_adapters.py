"""What a person does with an adapter: ask what it is, convert it there and back, compare, merge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lorry
from tests.support.files import KOHYA, kohya, peft, write

from .conftest import Command

OTHER = KOHYA.replace("to_q", "to_k")
QKV = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    told = {"ss_base_model_version": "sd_v1", "ss_output_name": "câț 猫"}
    return write(tmp_path / "cat.safetensors", {**kohya(alpha=1.0), **kohya(OTHER, seed=1, rank=3, alpha=1.5)}, told)


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    return write(tmp_path / "dog.safetensors", peft(rank=4, seed=2, alpha=2.0), {"format": "pt"})


def test_a_file_is_identified_with_reasons(command: Command, cat: Path) -> None:
    done = command("identify", cat)
    assert (done.code, done.err) == (0, "")
    assert "kohya for sd1" in done.out
    found = command("identify", cat, "--json").json
    best = found["candidates"][0]
    assert (best["dialect"], best["base"], best["score"], best["kinds"]) == ("kohya", "sd1", 1, ["lora"])
    assert found["keys"] == 6
    assert all(each["reason"] for each in found["candidates"])
    assert "diffusers" in command("identify", cat, "--all").out


def test_what_it_holds_is_told(command: Command, cat: Path) -> None:
    facts = command("inspect", cat, "--layers", "--json").json
    assert facts["format"] == ["kohya+safetensors"]
    assert facts["ranks"] == {"2": 1, "3": 1}
    assert facts["scales"] == {"0.5": 2}
    assert facts["metadata"]["ss_output_name"] == "câț 猫"
    assert {each["kind"] for each in facts["layer_list"]} == {"lora"}
    people = command("inspect", cat, "--layers")
    assert people.code == 0
    assert "Stable Diffusion 1" in people.out


def test_a_sound_file_is_valid_and_a_damaged_one_is_not(command: Command, cat: Path, tmp_path: Path) -> None:
    assert command("validate", cat).code == 0
    broken = {**kohya(), f"{KOHYA}.lora_up.weight": torch.full((8, 2), torch.inf), "strange": torch.ones(1)}
    path = write(tmp_path / "broken.safetensors", broken)
    done = command("validate", path, "--json")
    assert done.code == 8
    assert done.json["verdict"] == "reject"
    assert [(each["level"], each["where"]) for each in done.json["findings"][:2]] == [
        ("reject", f"{KOHYA}.lora_up.weight"),
        ("warn", "strange"),
    ]
    assert "NaN or infinity" in done.line


def test_a_folder_of_adapters_is_validated_one_by_one(command: Command, cat: Path, tmp_path: Path) -> None:
    write(tmp_path / "nan.safetensors", {**kohya(), f"{KOHYA}.lora_up.weight": torch.full((8, 2), torch.nan)})
    (tmp_path / "strange.pt").write_bytes(b"\x80\x02cposix\nsystem\n.")
    done = command("validate", "-r", tmp_path, "--json")
    told = {Path(each["path"]).name: each["verdict"] for each in map(json.loads, done.out.splitlines())}
    assert told == {cat.name: "accept", "nan.safetensors": "reject", "strange.pt": "reject"}
    assert done.code == 8
    assert "and 1 more rejected" in done.line
    people = command("validate", "-r", cat)
    assert (people.code, people.out.splitlines()[1].split()[0]) == (0, "accept")


@pytest.mark.parametrize("target", ["diffusers", "peft", "comfy", "kohya"])
def test_there_and_back_gives_the_first_file_again(command: Command, cat: Path, tmp_path: Path, target: str) -> None:
    there = command("convert", cat, "--to", target, "-o", tmp_path / "there", "--verify")
    assert (there.code, there.err) == (0, ""), there.err
    assert "verified: 2 layers" in there.out
    assert command("convert", tmp_path / "there", "--to", "kohya", "-o", tmp_path / "back").code == 0
    assert (tmp_path / "back").read_bytes() == cat.read_bytes()


def test_a_fused_module_does_the_same_in_parts(command: Command, tmp_path: Path) -> None:
    source = write(tmp_path / "flux.safetensors", kohya(QKV, rows=15, width=7, alpha=1.0))
    done = command("convert", source, "--to", "diffusers", "-o", tmp_path / "out", "--verify", "--json")
    assert done.json["layers_compared"] == 3
    assert done.json["max_relative_error"] < 1e-6
    assert done.json["keys_read"] == 3
    assert command("diff", source, tmp_path / "out", "--json").json["max_relative_error"] < 1e-6


def test_what_a_format_cannot_hold_is_said_before_and_after(command: Command, tmp_path: Path) -> None:
    tensors = {**peft(), **peft("text_encoder.text_model.encoder.layers.0.mlp.fc1")}
    source = write(tmp_path / "both.safetensors", tensors)
    refused = command("convert", source, "--to", "peft", "-o", tmp_path / "out")
    assert refused.code == 5
    assert "one model" in refused.line
    done = command("convert", source, "--to", "peft", "-o", tmp_path / "out", "--lossy")
    assert done.code == 0
    assert "left out" in done.out


def test_two_files_are_compared_layer_by_layer(command: Command, cat: Path, dog: Path) -> None:
    same = command("diff", cat, cat, "--json").json
    assert same["max_relative_error"] < 1e-12
    assert same["only_first"] == same["only_second"] == []
    found = command("diff", cat, dog, "--json").json
    assert found["only_first"] == [f"unet.{'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k'}.weight"]
    assert found["layers"][0]["error"] > 0.5
    people = command("diff", cat, dog)
    assert people.code == 0
    assert "only in the first" in people.out


@pytest.mark.parametrize("target", [None, "diffusers"])
def test_a_merge_is_the_weighted_sum(
    command: Command, cat: Path, dog: Path, tmp_path: Path, target: str | None
) -> None:
    out = tmp_path / "merged.safetensors"
    more = ["--to", target] if target else []
    done = command("merge", f"{cat}:0.7", f"{dog}:-0.5", "-o", out, *more, "--json")
    assert done.code == 0, done.err
    wanted = lorry.merge([(lorry.open(cat), 0.7), (lorry.open(dog), -0.5)])
    assert lorry.diff(lorry.open(out), wanted).error < 1e-6
    assert lorry.open(out).origin[0].dialect == (target or "kohya")
    assert '"weight":0.7' in lorry.open(out).metadata["lorry.recipe"]


def test_a_weight_of_nought_adds_nothing(command: Command, cat: Path, dog: Path, tmp_path: Path) -> None:
    assert command("merge", f"{cat}:0", dog, "-o", tmp_path / "out.safetensors").code == 0
    assert lorry.diff(lorry.open(tmp_path / "out.safetensors"), lorry.open(dog)).error < 1e-6


def test_a_dtype_rounds(command: Command, cat: Path, tmp_path: Path) -> None:
    out = tmp_path / "half.safetensors"
    assert command("convert", cat, "--to", "kohya", "-o", out, "--dtype", "BF16", "--verify").code == 0
    written = load_file(out)
    assert {written[key].dtype for key in kohya()} == {torch.bfloat16}


def test_a_file_may_replace_its_own_source(command: Command, cat: Path) -> None:
    before = lorry.open(write(cat.with_name("copy.safetensors"), load_file(cat)))
    assert command("convert", cat, "--to", "diffusers", "-o", cat, "--force").code == 0
    assert lorry.diff(before, lorry.open(cat)).error < 1e-6


def test_plugins_are_listed(command: Command) -> None:
    found = {each["name"]: each for each in command("plugins", "--json").json}
    assert found["kohya"]["provides"] == {"dialects": ["kohya"]}
    assert not any(each["error"] for each in found.values())
    assert "kohya" in command("plugins").out


@pytest.mark.parametrize("name", ["out.pt", "out.ckpt", "out.bin", "out.safetensors"])
def test_the_suffix_chooses_the_container(name: str, command: Command, tmp_path: Path) -> None:
    tensors = kohya()
    source = write(tmp_path / "in.safetensors", tensors, {"format": "pt"})
    assert command("convert", source, "--to", "kohya", "-o", tmp_path / name).code == 0
    out = tmp_path / name
    found = load_file(out) if name.endswith("safetensors") else torch.load(out, weights_only=True)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)
