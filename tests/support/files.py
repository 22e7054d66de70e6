"""Small adapter files, written with the official safetensors library as the tools of the field write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

KOHYA = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
"""A module of every Stable Diffusion base in kohya's spelling, and below as diffusers and we spell it."""

DIFFUSERS = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def kohya(
    stem: str = KOHYA, rank: int = 2, rows: int = 8, width: int = 8, *, seed: int = 0, alpha: float | None = None
) -> Tensors:
    """Return the tensors of one kohya LoRA module."""
    down, up = _factors(rank, rows, width, seed)
    made = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    return made if alpha is None else {**made, f"{stem}.alpha": torch.tensor(alpha)}


def peft(
    stem: str = DIFFUSERS, rank: int = 2, rows: int = 8, width: int = 8, *, seed: int = 0, alpha: float | None = None
) -> Tensors:
    """Return the tensors of one LoRA module as diffusers and peft name them."""
    down, up = _factors(rank, rows, width, seed)
    made = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    return made if alpha is None else {**made, f"{stem}.alpha": torch.tensor(alpha)}


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file and return its path."""
    save_file(dict(tensors), path, dict(metadata) if metadata else None)
    return path


def _factors(rank: int, rows: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, width, generator=generator), torch.randn(rows, rank, generator=generator)
