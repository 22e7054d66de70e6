"""Stable Diffusion 1, 2 and XL.

Names in the scheme "diffusers" are those of diffusers' UNet2DConditionModel, at any depth; "native" are the
positions in CompVis and Stability's openaimodel.UNetModel, which depend on the number of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lorry.plugin import BaseModel, Component, Naming, Probe, View, hookimpl
from lorry_plugins.bases.text_encoders import clip

LORRY_API = 1

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip

_TRANSFORMER = (
    "norm", "proj_in", "proj_out",
    *(
        f"transformer_blocks.{{k}}.{leaf}"
        for leaf in (
            "norm1", "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
            "norm2", "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0",
            "norm3", "ff.net.0.proj", "ff.net.2",
        )
    ),
)  # fmt: skip

_TOP = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip

_BLOCKS = ("down_blocks.{i}", "mid_block", "up_blocks.{i}")

_UNET_MODULES = (
    *_TOP,
    *(f"{block}.resnets.{{j}}.{leaf}" for block in _BLOCKS for leaf in _RESNET),
    *(f"{block}.attentions.{{j}}.{leaf}" for block in _BLOCKS for leaf in _TRANSFORMER),
    "down_blocks.{i}.downsamplers.0.conv",
    "up_blocks.{i}.upsamplers.0.conv",
)


def _native(up_attention: Sequence[bool], layers: int = 2) -> Iterator[View]:
    """Yield the positions of every block; `up_attention` tells which up blocks have attention.

    Source: diffusers scripts/convert_original_stable_diffusion_to_diffusers.py, `convert_ldm_unet_checkpoint`.
    """
    blocks = len(up_attention)
    for ours, native in _TOP.items():
        yield View(name=native, parts=(ours,))
    yield from _pair("middle_block.0", "mid_block.resnets.0", "middle_block.1", "mid_block.attentions.0")
    yield from _pair("middle_block.2", "mid_block.resnets.1")
    for block in range(blocks):
        for layer in range(layers):
            down = f"input_blocks.{1 + (layers + 1) * block + layer}"
            yield from _pair(
                f"{down}.0",
                f"down_blocks.{block}.resnets.{layer}",
                f"{down}.1",
                f"down_blocks.{block}.attentions.{layer}",
            )
        yield View(
            name=f"input_blocks.{(layers + 1) * (block + 1)}.0.op", parts=(f"down_blocks.{block}.downsamplers.0.conv",)
        )
        for layer in range(layers + 1):
            up = f"output_blocks.{(layers + 1) * block + layer}"
            yield from _pair(
                f"{up}.0", f"up_blocks.{block}.resnets.{layer}", f"{up}.1", f"up_blocks.{block}.attentions.{layer}"
            )
        last = f"output_blocks.{(layers + 1) * block + layers}.{2 if up_attention[block] else 1}.conv"
        yield View(name=last, parts=(f"up_blocks.{block}.upsamplers.0.conv",))


def _pair(native: str, resnet: str, native_attention: str = "", attention: str = "") -> Iterator[View]:
    for ours, theirs in _RESNET.items():
        yield View(name=f"{native}.{theirs}", parts=(f"{resnet}.{ours}",))
    for leaf in _TRANSFORMER if attention else ():
        yield View(name=f"{native_attention}.{leaf}", parts=(f"{attention}.{leaf}",))


def _unet(up_attention: Sequence[bool], kohya: tuple[str, ...]) -> Component:
    return Component(
        name="unet",
        modules=_UNET_MODULES,
        schemes={"native": tuple(_native(up_attention))},
        naming={
            "diffusers": Naming(prefixes=("unet",)),
            "kohya": Naming(prefixes=("lora_unet",), schemes=kohya),
        },
    )


def _clip(name: str, embedding: int, kohya: str, encoder: str) -> Component:
    return clip(name, embedding, {"kohya": Naming(prefixes=(kohya,)), "embedding": Naming(prefixes=(encoder,))})


_SMALL = (False, True, True, True)

SD1 = BaseModel(
    id="sd1",
    title="Stable Diffusion 1",
    components=(_unet(_SMALL, ("diffusers", "native")), _clip("text_encoder", 768, "lora_te", "clip_l")),
    probes=(
        Probe(component="unet", module="proj_in", ndim=4),
        Probe(component="unet", module="attn2.to_k", width=768),
        Probe(component="unet", module="add_embedding.linear_1", present=False),
    ),
    claims=("sd_v1", "stable-diffusion-v1"),
)

SD2 = BaseModel(
    id="sd2",
    title="Stable Diffusion 2",
    components=(_unet(_SMALL, ("diffusers", "native")), _clip("text_encoder", 1024, "lora_te", "clip_h")),
    probes=(
        Probe(component="unet", module="proj_in", ndim=2),
        Probe(component="unet", module="attn2.to_k", width=1024),
        Probe(component="unet", module="add_embedding.linear_1", present=False),
    ),
    claims=("sd_v2", "stable-diffusion-v2"),
)

SDXL = BaseModel(
    id="sdxl",
    title="Stable Diffusion XL",
    components=(
        _unet((True, True, False), ("native", "diffusers")),
        _clip("text_encoder", 768, "lora_te1", "clip_l"),
        _clip("text_encoder_2", 1280, "lora_te2", "clip_g"),
    ),
    probes=(
        Probe(component="unet", module="proj_in", ndim=2),
        Probe(component="unet", module="attn2.to_k", width=2048),
        Probe(component="unet", module="add_embedding.linear_1", present=True),
    ),
    claims=("sdxl", "stable-diffusion-xl"),
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the tables."""
    return [SD1, SD2, SDXL]
