"""Base folders of random weights, for the pipelines that no shipped base has: SDXL, and FLUX.1 with guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

diffusers: Any = untyped_diffusers

WIDTH = 32


def save_sdxl(folder: Path, toybox: Path) -> Path:
    """Save a StableDiffusionXLPipeline of toy width, with the toybox's tokenizer."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(toybox / "sd" / "tokenizer")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )
    scheduler = diffusers.EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1)
    diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def save_flux_dev(folder: Path, toybox: Path) -> Path:
    """Save a FluxPipeline of toy width whose transformer takes its guidance as an input."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(toybox / "flux" / "tokenizer")
    tokenizer_2 = AutoTokenizer.from_pretrained(toybox / "flux" / "tokenizer_2")
    t5 = T5Config(vocab_size=len(tokenizer_2), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
    ).save_pretrained(folder)
    return folder


def _clip(tokenizer: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=64,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=2,  # as every published SDXL and FLUX.1 has it
        pad_token_id=tokenizer.pad_token_id,
    )


def _vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        sample_size=32,
        shift_factor=0.0,
    )
