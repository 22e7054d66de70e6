"""What a format cannot hold becomes a LoRA under --lossy, and what that loses is said to the layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import lorry
from lorry.cli import cli
from lorry.errors import NotRepresentable
from tests.support.checkpoints import save as save_base
from tests.support.files import Tensors, write

MODULE = "double_blocks_0_img_mlp_0"
WIDTH, ROWS = 24, 96


def _loha(rank: int = 3) -> Tensors:
    generator = torch.Generator().manual_seed(1)
    shapes = {"w1_a": (ROWS, rank), "w1_b": (rank, WIDTH), "w2_a": (ROWS, rank), "w2_b": (rank, WIDTH)}
    return {
        f"lora_unet_{MODULE}.hada_{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }


def _delta(tensors: Tensors) -> torch.Tensor:
    w = {key.rpartition("hada_")[2]: value for key, value in tensors.items()}
    return (w["w1_a"] @ w["w1_b"]) * (w["w2_a"] @ w["w2_b"])


@pytest.mark.parametrize(("rank", "exact"), [(9, True), (4, False)])
def test_the_energy_told_is_the_energy_lost(rank: int, tmp_path: Path, *, exact: bool) -> None:
    source = write(tmp_path / "loha.safetensors", _loha())
    adapter = lorry.open(source)
    with pytest.raises(NotRepresentable, match=r"transformer_blocks\.0\.ff\.net\.0\.proj"):
        lorry.save(adapter, tmp_path / "x.safetensors", "diffusers")
    saved = lorry.save(adapter, tmp_path / "x.safetensors", "diffusers", lossy=True, rank=rank)
    assert saved.lost == {}
    ((name, told),) = saved.approximated.items()
    assert (name, told.rank, told.kinds) == ("transformer.transformer_blocks.0.ff.net.0.proj", rank, ("loha",))
    slots = {key.rpartition(".lora_")[2]: value for key, value in load_file(saved.path).items()}
    delta = _delta(_loha())
    lost = float((delta - slots["B.weight"] @ slots["A.weight"]).norm() ** 2 / delta.norm() ** 2)
    assert told.energy_lost == pytest.approx(lost, rel=1e-3, abs=1e-9)
    assert saved.energy_lost == pytest.approx(told.energy_lost)
    assert (lost < 1e-9) == exact


def test_the_command_tells_each_layer_and_the_total(tmp_path: Path) -> None:
    source = write(tmp_path / "loha.safetensors", _loha())
    told = ["convert", str(source), "--to", "diffusers", "--lossy", "--rank", "2", "-o"]
    shown = CliRunner().invoke(cli, [*told, str(tmp_path / "a.safetensors"), "--verify"])
    assert shown.exit_code == 0, shown.output
    assert "now a LoRA of rank 2" in shown.output
    assert "of their energy lost" in shown.output
    printed = CliRunner().invoke(cli, [*told, str(tmp_path / "b.safetensors"), "--json"])
    found = json.loads(printed.output)
    assert found["lost"] == {}
    assert [each["rank"] for each in found["approximated"].values()] == [2]
    assert 0 < found["energy_lost"] < 1
    assert CliRunner().invoke(cli, [*told[:4], "--rank", "2", "-o", "c.safetensors"]).exit_code == 2


def test_a_rank_is_not_asked_of_what_fits(tmp_path: Path) -> None:
    source = write(
        tmp_path / "lora.safetensors",
        {f"lora_unet_{MODULE}.lora_down.weight": torch.randn(4, WIDTH)}
        | {f"lora_unet_{MODULE}.lora_up.weight": torch.randn(ROWS, 4)},
    )
    saved = lorry.save(lorry.open(source), tmp_path / "x.safetensors", "diffusers", lossy=True, rank=1)
    assert (saved.lost, saved.approximated, saved.energy_lost) == ({}, {}, 0.0)


def test_what_needs_the_weight_says_so_and_takes_a_base(tmp_path: Path) -> None:
    base = lorry.open_base(save_base("flux1", tmp_path / "flux"))
    path = "transformer.transformer_blocks.0.ff.net.0.proj"
    rows, width = base.tensors[f"{path}.weight"].shape
    lora = {"lora_down.weight": torch.randn(2, width), "lora_up.weight": torch.randn(rows, 2)}
    lora["dora_scale"] = torch.rand(1, width) + 0.5  # per input, which peft's own form cannot say
    source = write(tmp_path / "dora.safetensors", {f"lora_unet_{MODULE}.{key}": value for key, value in lora.items()})
    adapter = lorry.open(source)
    alone = lorry.save(adapter, tmp_path / "x.safetensors", "diffusers", lossy=True)
    assert "say which base" in alone.lost[path]
    done = lorry.save(adapter, tmp_path / "y.safetensors", "diffusers", lossy=True, rank=width, base=base)
    assert (list(done.approximated), done.lost) == ([path], {})
    before, after = (lorry.bake(base, [each])[f"{path}.weight"] for each in (adapter, lorry.open(done.path, base=base)))
    assert torch.allclose(before, after, atol=1e-4)
