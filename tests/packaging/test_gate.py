"""A new base and a new kind, installed as two strangers' distributions, go through every dialect with nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file, save_file

Lorry = Callable[..., "CompletedProcess[str]"]
Tensors = dict[str, torch.Tensor]

EXAMPLES = Path(__file__).parents[2] / "examples"
BASE, KIND, HELLO = (EXAMPLES / name for name in ("lorry-qwen-image", "lorry-outer", "lorry-hello"))

QWEN = ("transformer_blocks_0_attn_to_q", "transformer_blocks_7_img_mlp_net_0_proj", "transformer_blocks_59_txt_mod_1")
SD = ("down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "mid_block_attentions_0_proj_in")


def lora(module: str, seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    rows = 8 * {"proj": 4, "1": 6}.get(module.rpartition("_")[2], 1)
    kernel = (1, 1) if module.endswith("proj_in") else ()
    return {
        f"{module}.alpha": torch.tensor(2.0),
        f"{module}.lora_down.weight": torch.randn(4, 8, *kernel, generator=generator),
        f"{module}.lora_up.weight": torch.randn(rows, 4, *kernel, generator=generator),
    }


def outer(module: str, seed: int) -> Tensors:
    rows, columns = lora(module, seed)[f"{module}.lora_up.weight"], lora(module, seed)[f"{module}.lora_down.weight"]
    return {
        f"{module}.alpha": torch.tensor(0.5),
        f"{module}.outer_column": rows[:, 0].flatten().clone(),
        f"{module}.outer_row": columns[0].flatten().clone(),
    }


CASES: Mapping[str, tuple[str, str, tuple[str, ...], Callable[[str, int], Tensors]]] = {
    "new base, built-in kind": ("qwen-image", "lora", QWEN, lora),
    "built-in base, new kind": ("sd1", "outer", SD, outer),
    "new base, new kind": ("qwen-image", "outer", QWEN, outer),
}


@pytest.fixture(scope="module")
def both(install: Callable[[Path], Path]) -> Path:
    """Two folders in one PYTHONPATH, as two distributions stand beside each other in an environment."""
    return Path(os.pathsep.join(str(install(project)) for project in (BASE, KIND)))


def test_both_are_strangers(both: Path, run_lorry: Lorry) -> None:
    listed = {each["name"]: each for each in json.loads(run_lorry("plugins", "--json", installed=both).stdout)}
    found = {name: (each["distribution"], each["provides"]) for name, each in listed.items()}
    assert found["qwen-image"] == ("lorry-qwen-image", {"base_models": ["qwen-image"]})
    assert found["outer"] == ("lorry-outer", {"kinds": ["outer"]})
    assert not any(each["error"] for each in listed.values())


@pytest.mark.parametrize("case", CASES)
def test_it_converts_through_comfy_and_peft_and_back(case: str, both: Path, tmp_path: Path, run_lorry: Lorry) -> None:
    base, kind, modules, make = CASES[case]
    first = tmp_path / "kohya.safetensors"
    layers = (make(f"lora_unet_{module}", seed) for seed, module in enumerate(modules))
    save_file({key: tensor for layer in layers for key, tensor in layer.items()}, first)
    best = json.loads(run_lorry("identify", first, "--json", installed=both).stdout)["candidates"][0]
    assert (best["dialect"], best["base"], best["kinds"], best["score"]) == ("kohya", base, [kind], 1)
    before = first
    for name, key in {"comfy": "diffusion_model.", "peft": "base_model.model.", "kohya": "lora_unet_"}.items():
        after = tmp_path / (f"{name}-folder" if name == "peft" else f"{name}-again.safetensors")
        done = run_lorry("convert", before, "--to", name, "-o", after, installed=both)
        assert done.returncode == 0, done.stderr
        weights = load_file(after / "adapter_model.safetensors" if after.is_dir() else after)
        assert weights
        assert all(each.startswith(key) for each in weights)
        before = after
    compared = json.loads(run_lorry("diff", first, before, "--json", installed=both).stdout)
    assert len(compared["layers"]) == len(modules)
    assert all(each["error"] <= 1e-6 for each in compared["layers"])
    assert {each: tensor.tolist() for each, tensor in load_file(before).items()} == {
        each: tensor.tolist() for each, tensor in load_file(first).items()
    }


def test_their_own_tests_pass(both: Path, install: Callable[[Path], Path], tmp_path: Path) -> None:
    tests = [str(test) for project in (BASE, KIND, HELLO) for test in project.glob("test_*.py")]
    assert len(tests) == 3
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(both), str(install(HELLO))])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
