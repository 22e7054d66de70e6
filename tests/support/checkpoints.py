"""Base models of random weights at published depth and toy width, each component saved by its own library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

diffusers: Any = untyped_diffusers

WIDTH = 8


def models(base: str) -> dict[str, Any]:
    """Build the components of a base by the id of its table."""
    torch.manual_seed(0)
    with torch.no_grad():
        built = COMPONENTS[base]()
        for model in built.values():
            for parameter in model.parameters():  # norms are all ones else, and zeros all biases
                parameter.copy_(torch.randn(parameter.shape))
    return built


def save(base: str, folder: Path) -> Path:
    """Save the components of a base by the id of its table, and return the folder."""
    for name, model in models(base).items():
        model.save_pretrained(folder / name)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a folder of components, as "component.key"."""
    return {
        f"{file.parent.name}.{key}": tensor
        for file in sorted(folder.glob("*/*.safetensors"))
        for key, tensor in load_file(file).items()
    }


def _unet(blocks: str, **options: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(WIDTH,) * len(blocks),
        down_block_types=[_block(letter, "Down") for letter in blocks],
        up_block_types=[_block(letter, "Up") for letter in reversed(blocks)],
        attention_head_dim=2,
        norm_num_groups=2,
        **options,
    )


def _block(letter: str, way: str) -> str:
    return f"{'CrossAttn' if letter == 'a' else ''}{way}Block2D"


def _xl_unet(blocks: str, width: int) -> Any:
    return _unet(
        blocks,
        cross_attention_dim=width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=WIDTH + 12,
    )


def _vae(kind: str = "AutoencoderKL") -> Any:
    return getattr(diffusers, kind)(
        block_out_channels=(WIDTH,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
    )


def _clip(kind: type = CLIPTextModel) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=40, hidden_size=WIDTH, intermediate_size=16, projection_dim=WIDTH, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip


def _small(*, linear: bool) -> dict[str, Any]:
    unet = _unet("aaa.", cross_attention_dim=WIDTH, use_linear_projection=linear)
    return {"unet": unet, "text_encoder": _clip(), "vae": _vae()}


def _sdxl() -> dict[str, Any]:
    encoders = {"text_encoder": _clip(), "text_encoder_2": _clip(CLIPTextModelWithProjection)}
    return {"unet": _xl_unet(".aa", 2 * WIDTH), **encoders, "vae": _vae()}


def _refiner() -> dict[str, Any]:
    unet = _xl_unet(".aa.", WIDTH)
    return {"unet": unet, "text_encoder_2": _clip(CLIPTextModelWithProjection), "vae": _vae()}


def _flux1() -> dict[str, Any]:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=40, d_model=WIDTH, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
        )
    )
    return {"transformer": transformer, "text_encoder": _clip(), "text_encoder_2": t5, "vae": _vae()}


def _flux2() -> dict[str, Any]:
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    return {"transformer": transformer, "vae": _vae("AutoencoderKLFlux2")}


COMPONENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "sd1": lambda: _small(linear=False),
    "sd2": lambda: _small(linear=True),
    "sdxl": _sdxl,
    "sdxl-refiner": _refiner,
    "flux1": _flux1,
    "flux2": _flux2,
}
"""Components of each base, by the id of its table."""
