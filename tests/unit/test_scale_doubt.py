"""What a file cannot tell of its scale is said, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lorry
from tests.support.files import Tensors, write

SINGLE, DOUBLE = "single_transformer_blocks.0.attn.to_q", "double_blocks.0.img_attn.qkv"


def _peft(module: str, infix: str = "") -> Tensors:
    rows = 96 if "qkv" in module else 32
    return {
        f"{module}.lora_A{infix}.weight": torch.randn(2, 32),
        f"{module}.lora_B{infix}.weight": torch.randn(rows, 2),
    }


def _kohya(module: str) -> Tensors:
    flat = "lora_unet_" + module.replace(".", "_")
    return {f"{flat}.lora_down.weight": torch.randn(2, 32), f"{flat}.lora_up.weight": torch.randn(96, 2)}


SILENT = {
    "diffusers": _peft(f"transformer.{SINGLE}"),
    "peft-named": _peft(f"transformer.{SINGLE}", ".default"),
    "diffsynth": _peft("blocks.0.attn.a_to_qkv", ".default"),
    "fal": _peft(f"base_model.model.{DOUBLE}"),
}
KNOWN = {
    "kohya": _kohya(DOUBLE),  # every tool takes a missing alpha as the rank
    "ai-toolkit": _peft(f"diffusion_model.{DOUBLE}"),  # the trainer folds alpha into the numbers
    "xlabs": {
        "double_blocks.0.processor.qkv_lora1.down.weight": torch.randn(2, 32),
        "double_blocks.0.processor.qkv_lora1.up.weight": torch.randn(96, 2),
    },
}


def _told(folder: Path, tensors: Tensors, header: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    adapter = lorry.open(write(folder / "x.safetensors", tensors, header))
    return adapter.origin[0].dialect, dict(adapter.report.ambiguous)


@pytest.mark.parametrize("dialect", SILENT)
def test_a_scale_that_nothing_tells_is_ambiguous(dialect: str, tmp_path: Path) -> None:
    found, told = _told(tmp_path, SILENT[dialect])
    assert found == dialect
    assert "scale" in told


@pytest.mark.parametrize("dialect", [each for each in SILENT if each != "diffusers"])
def test_an_alpha_tensor_settles_it(dialect: str, tmp_path: Path) -> None:
    alphas = {f"{key.partition('.lora_A')[0]}.alpha": torch.tensor(4.0) for key in SILENT[dialect] if ".lora_A" in key}
    found, told = _told(tmp_path, SILENT[dialect] | alphas)
    assert (found, "scale" in told) == (dialect, False)


@pytest.mark.parametrize("dialect", KNOWN)
def test_where_every_writer_and_reader_agrees_nothing_is_ambiguous(dialect: str, tmp_path: Path) -> None:
    found, told = _told(tmp_path, KNOWN[dialect])
    assert (found, "scale" in told) == (dialect, False)


@pytest.mark.parametrize(("asked", "doubtful"), [("True", True), ("False", False)])
def test_split_qkv_is_known_by_the_header_alone(asked: str, tmp_path: Path, *, doubtful: bool) -> None:
    _, told = _told(tmp_path, _kohya(DOUBLE), {"ss_network_args": json.dumps({"split_qkv": asked})})
    assert ("scale" in told) == doubtful
