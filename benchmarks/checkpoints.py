"""Checkpoints and adapters of published shapes, for benchmarks; run in a process of their own.

    python benchmarks/checkpoints.py sd15 FOLDER         a diffusers folder (float16) and sd15.safetensors, 2.1 GB each
    python benchmarks/checkpoints.py flux1 FOLDER GB     FLUX.1's transformer (bfloat16), 23.8 GB or less
    python benchmarks/checkpoints.py lora BASE FILE      a LoRA of rank 32 for every linear layer in the blocks of BASE

Shapes are those that diffusers' and transformers' own classes have at their published configurations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers  # noqa: TID253  nothing else runs in this process
import torch  # noqa: TID253  see above
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: TID253  see above

import lorry
from lorry.ir import TensorRef
from lorry.ops.bases.convert import convert_base

diffusers: Any = untyped_diffusers

RANK = 32
BLOCK = 1 << 24
"""Random numbers made once and used again and again: making billions takes longer than any benchmark."""


def sd15(folder: Path) -> None:
    """Write Stable Diffusion 1.5 in both of its layouts."""
    with torch.device("meta"):
        parts: Mapping[str, Any] = {
            "unet": diffusers.UNet2DConditionModel(cross_attention_dim=768, sample_size=64),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, vocab_size=49408)
            ),
            "vae": diffusers.AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
            ),
        }
    numbers = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))
    for name, model in parts.items():
        (folder / name).mkdir(parents=True)
        tensors = {key: _filled(tensor.shape, numbers).half() for key, tensor in model.state_dict().items()}
        stem = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        if name == "text_encoder":
            model.config.save_pretrained(folder / name)
            tensors = {key if key.startswith("text_model.") else f"text_model.{key}": t for key, t in tensors.items()}
        else:
            model.save_config(folder / name)
        save_file(tensors, folder / name / f"{stem}.safetensors", {"format": "pt"})
    convert_base(lorry.open_base(folder), folder.with_suffix(".safetensors"), "ldm")


def flux1(folder: Path, size: float) -> None:
    """Write FLUX.1's transformer, all zeros that take no room on the disk, with fewer blocks where it is to be smaller.

    size: of at most so many GB; 23.8 is the whole.
    """
    fraction = min(1.0, size / 23.8)
    with torch.device("meta"):
        model = diffusers.FluxTransformer2DModel(
            guidance_embeds=True, num_layers=round(19 * fraction), num_single_layers=round(38 * fraction)
        )
    folder.mkdir(parents=True)
    model.save_config(folder)
    header: dict[str, object] = {}
    at = 0
    for key, tensor in sorted(model.state_dict().items()):
        end = at + 2 * tensor.numel()
        header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with (folder / "diffusion_pytorch_model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def lora(base: Path, file: Path) -> None:
    """Write a LoRA for the linear layers in blocks, of what draws and of the text encoder.

    In sd-scripts' names, but for FLUX.1, whose fused modules would get the ranks of their parts together.
    """
    opened = lorry.open_base(base)
    layers = dict(_layers(opened))
    adapter = lorry.Adapter(base=opened.id, layers=layers)
    lorry.save(adapter, file, "diffusers" if opened.id == "flux1" else "kohya", dtype="F16")


def _layers(base: lorry.Base) -> Iterator[tuple[lorry.ModulePath, tuple[lorry.Layer, ...]]]:
    generator = torch.Generator().manual_seed(1)
    for path, shape in base.shapes.items():  # alpha is the rank, so that tools that drop it do the same job
        named = (".transformer_blocks.", ".single_transformer_blocks.", ".proj_in", ".proj_out", ".encoder.layers.")
        inside = any(word in f".{path.name}" for word in named) and path.component != "vae"
        if not inside or len(shape) < 2 or "norm" in path.name:  # noqa: PLR2004  weights, not biases
            continue
        down = torch.randn(RANK, *shape[1:], generator=generator) * 0.02
        up = torch.randn(shape[0], RANK, *(1 for _ in shape[2:]), generator=generator) * 0.01
        slots = {"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}
        yield path, (lorry.Layer(kind="lora", slots=slots),)


def _filled(shape: torch.Size, numbers: torch.Tensor) -> torch.Tensor:
    count = shape.numel()
    return numbers.repeat(-(-count // BLOCK))[:count].reshape(shape).mul(0.03)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "sd15":
        sd15(Path(rest[0]))
    elif what == "flux1":
        flux1(Path(rest[0]), float(rest[1]))
    else:
        lora(*map(Path, rest))
