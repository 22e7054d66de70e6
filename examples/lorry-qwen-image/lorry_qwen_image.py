"""Qwen-Image as a base table: names alone, and every dialect and kind that is installed works for it.

Names are those of diffusers' QwenImageTransformer2DModel, which ComfyUI and the trainers use too. Its text encoder
takes no adapters in the field, and is left out.
"""

from __future__ import annotations

from lorry.plugin import BaseModel, Component, Naming, Probe, hookimpl

LORRY_API = 1

_BLOCK = (
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.norm_q", "attn.norm_k",
    "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
    "attn.norm_added_q", "attn.norm_added_k",
    "img_mod.1", "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mod.1", "txt_mlp.net.0.proj", "txt_mlp.net.2",
)  # fmt: skip

_AROUND = (
    "img_in", "txt_norm", "txt_in", "norm_out.linear", "proj_out",
    "time_text_embed.timestep_embedder.linear_1", "time_text_embed.timestep_embedder.linear_2",
)  # fmt: skip

QWEN_IMAGE = BaseModel(
    id="qwen-image",
    title="Qwen-Image",
    components=(
        Component(
            name="transformer",
            modules=(*_AROUND, *(f"transformer_blocks.{{i}}.{name}" for name in _BLOCK)),
            naming={
                "diffusers": Naming(prefixes=("transformer",)),
                "kohya": Naming(prefixes=("lora_unet",)),
                "comfy": Naming(prefixes=("diffusion_model",)),
            },
        ),
    ),
    probes=(
        Probe(component="transformer", module="attn.to_q", width=3072),
        Probe(component="transformer", module="txt_in", width=3584),
        Probe(component="transformer", module="img_mod.1", ratio=6),
    ),
    claims=("qwen_image", "qwen-image"),
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the table."""
    return [QWEN_IMAGE]
