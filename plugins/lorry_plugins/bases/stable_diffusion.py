"""Stable Diffusion 1, 2 and XL.

Names in the scheme "diffusers" are those of diffusers' UNet2DConditionModel, at any depth; "native" are the
positions in CompVis and Stability's openaimodel.UNetModel, which depend on the number of blocks. Whole checkpoints
are "ldm" (Stable Diffusion 1 and 2, by CompVis' latent-diffusion) and "sgm" (XL, by Stability's generative-models).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lorry.plugin import BaseModel, Component, ModelSpec, Naming, Probe, View, hookimpl
from lorry_plugins.bases.text_encoders import clip
from lorry_plugins.bases.vae import vae

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


_PROCESSORS = tuple(
    View(
        f"{block}.attentions.{{j}}.transformer_blocks.{{k}}.{attention}.processor.to_{leaf}_lora",
        (f"{block}.attentions.{{j}}.transformer_blocks.{{k}}.{attention}.to_{'out.0' if leaf == 'out' else leaf}",),
    )
    for block in _BLOCKS
    for attention in ("attn1", "attn2")
    for leaf in ("q", "k", "v", "out")
)
"""Where diffusers kept the LoRA of an attention until 0.20: in its processor."""

_NUMBERED = tuple(
    View(module, (module,))
    for module in _UNET_MODULES
    if (".attn" in module or module.endswith("ff.net.0.proj") or ".resnets." in module) and ".norm" not in module
)
"""What cloneofsimo/lora numbers."""

_LORA_LAYERS = tuple(View(f"{module}.lora", (module,)) for module in _UNET_MODULES)
"""Where diffusers kept it then, for a while: in a layer beside each module."""


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


def _unet(
    up_attention: Sequence[bool], kohya: tuple[str, ...], checkpoint: str, naming: Mapping[str, Naming] | None = None
) -> Component:
    return Component(
        name="unet",
        modules=_UNET_MODULES,
        schemes={
            "native": tuple(_native(up_attention)),
            "processor": _PROCESSORS,
            "lora": _LORA_LAYERS,
            "cloneofsimo": _NUMBERED,
        },
        naming={
            "diffusers": Naming(prefixes=("unet",)),
            "comfy": Naming(prefixes=("diffusion_model",), schemes=("native",)),
            "original": Naming(prefixes=("",), schemes=("native",)),
            "omi": Naming(prefixes=("unet",), schemes=("native",)),
            "peft-named": Naming(prefixes=("unet", "base_model.model", "")),
            # Files of 2023 may hold the UNet alone, without the prefix.
            "attn-procs": Naming(prefixes=("unet", ""), schemes=("processor", "lora")),
            "lora-layers": Naming(prefixes=("unet", ""), schemes=("lora", "processor")),
            "kohya": Naming(prefixes=("lora_unet", "oft_unet"), schemes=kohya),
            **(naming or {}),
        },
        checkpoints={checkpoint: Naming(prefixes=("model.diffusion_model",), schemes=("native",))},
        depth=f"down_blocks.{len(up_attention) - 1}.resnets.0.conv1",
    )


def _clip(  # noqa: PLR0913, PLR0917  a row of data
    name: str,
    embedding: int,
    kohya: str,
    encoder: str,
    checkpoints: Mapping[str, Naming],
    naming: Mapping[str, Naming] | None = None,
) -> Component:
    own = {"kohya": Naming(prefixes=(kohya,)), "embedding": Naming(prefixes=(encoder,))}
    return clip(name, embedding, {**own, **(naming or {})}, checkpoints)


def _own(prefix: str) -> Naming:
    return Naming(prefixes=(prefix,), schemes=("diffusers", "transformers5"))


def _openclip(prefix: str) -> Naming:
    return Naming(prefixes=(prefix,), schemes=("openclip", "openclip-linear"))


def _blocks(up_attention: Sequence[bool], encoders: tuple[str, ...], layers: int = 2) -> dict[str, tuple[str, ...]]:
    """Name the blocks as hako-mikan/sd-webui-lora-block-weight does, by the positions of the scheme "native"."""
    found = {"BASE": encoders, "IN00": ("unet.conv_in",)}
    for block in range(len(up_attention)):
        for layer in range(layers):
            parts = tuple(f"unet.down_blocks.{block}.{each}.{layer}" for each in ("resnets", "attentions"))
            found[f"IN{1 + (layers + 1) * block + layer:02}"] = parts
        found[f"IN{(layers + 1) * (block + 1):02}"] = (f"unet.down_blocks.{block}.downsamplers",)
    found["M00"] = ("unet.mid_block",)
    for block in range(len(up_attention)):
        for layer in range(layers + 1):
            parts = tuple(f"unet.up_blocks.{block}.{each}.{layer}" for each in ("resnets", "attentions"))
            last = (f"unet.up_blocks.{block}.upsamplers",) if layer == layers else ()
            found[f"OUT{(layers + 1) * block + layer:02}"] = parts + last
    return found


_SMALL = (False, True, True, True)

_PRESETS = {
    name: ", ".join(["*=0", *(f"{block}=1" for block in blocks)])
    for name, blocks in {
        "INS": ("BASE", "IN01", "IN02", "IN04"),
        "IND": ("IN05", "IN07", "IN08"),
        "INALL": ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08"),
        "MIDD": ("IN05", "IN07", "IN08", "M00", "OUT03", "OUT04", "OUT05", "OUT06"),
        "OUTD": ("OUT03", "OUT04", "OUT05", "OUT06"),
        "OUTS": ("OUT07", "OUT08", "OUT09", "OUT10", "OUT11"),
        "OUTALL": ("OUT03", "OUT04", "OUT05", "OUT06", "OUT07", "OUT08", "OUT09", "OUT10", "OUT11"),
    }.items()
}
"""Those of hako-mikan/sd-webui-lora-block-weight, scripts/lbwpresets.txt, for the modules that a LoRA has there."""

_PRESETS_XL = {
    "b-lora-content": "*=0, unet.up_blocks.0.attentions.0=1",
    "b-lora-style": "*=0, unet.up_blocks.0.attentions.1=1",
}
"""Frenkel et al., Implicit Style-Content Separation using B-LoRA (arXiv:2403.14572)."""

# cloneofsimo/lora numbers its layers in the order of diffusers up to 0.14 ("unet"), or after ("unet-new").
_NUMBERED_UNET = {"cloneofsimo": Naming(prefixes=("unet", "unet-new"), schemes=("cloneofsimo",))}
_NUMBERED_CLIP = {"cloneofsimo": Naming(prefixes=("text_encoder",), schemes=("cloneofsimo",))}


_SCHEDULE = (
    "betas", "alphas_cumprod", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "log_one_minus_alphas_cumprod", "posterior_", "logvar", "lvlb_weights",
    "denoiser.", "model_ema.decay", "model_ema.num_updates",
)  # fmt: skip
_UNUSED = (*_SCHEDULE, "first_stage_model.loss.", "cond_stage_model.model.logit_scale", "cond_stage_model.logit_scale")
_UNUSED_XL = (*_SCHEDULE, *(f"conditioner.embedders.{at}.model.logit_scale" for at in range(2)))

_STABILITY = "https://github.com/Stability-AI/generative-models"


def _inputs(**channels: int) -> dict[str, tuple[Probe, ...]]:
    """Return variants told by the channels that the UNet takes in: latents, and beside them a mask, image or depth."""
    return {name: (Probe(component="unet", module="conv_in", width=width),) for name, width in channels.items()}


SD1 = BaseModel(
    id="sd1",
    title="Stable Diffusion 1",
    dialect="kohya",
    components=(
        _unet(_SMALL, ("diffusers", "native"), "ldm", _NUMBERED_UNET),
        _clip("text_encoder", 768, "lora_te", "clip_l", {"ldm": _own("cond_stage_model.transformer")}, _NUMBERED_CLIP),
        vae({"ldm": "first_stage_model"}),
    ),
    probes=(
        Probe(component="unet", module="proj_in", ndim=4),
        Probe(component="unet", module="attn2.to_k", width=768),
        Probe(component="unet", module="add_embedding.linear_1", present=False),
    ),
    claims=("sd_v1", "sd_1", "sd1", "sd 1", "stable-diffusion-v1"),
    spec=ModelSpec({"": "stable-diffusion-v1"}, _STABILITY, "512x512"),
    variants=_inputs(base=4, inpainting=9, pix2pix=8),
    unused=_UNUSED,
    blocks=_blocks(_SMALL, ("text_encoder",)),
    presets=_PRESETS,
    hub={"": "stable-diffusion-v1-5/stable-diffusion-v1-5"},
)

SD2 = BaseModel(
    id="sd2",
    title="Stable Diffusion 2",
    dialect="kohya",
    components=(
        _unet(_SMALL, ("diffusers", "native"), "ldm", _NUMBERED_UNET),
        _clip("text_encoder", 1024, "lora_te", "clip_h", {"ldm": _openclip("cond_stage_model.model")}, _NUMBERED_CLIP),
        vae({"ldm": "first_stage_model"}),
    ),
    probes=(
        Probe(component="unet", module="proj_in", ndim=2),
        Probe(component="unet", module="attn2.to_k", width=1024),
        Probe(component="unet", module="add_embedding.linear_1", present=False),
    ),
    claims=("sd_v2", "sd_2", "sd2", "sd 2", "stable-diffusion-v2"),
    # Whether it is v2-512 or v2-768-v stands in no tensor.
    spec=ModelSpec({"": "stable-diffusion-v2"}, _STABILITY),
    marks={"ss_v2": "True"},
    variants=_inputs(base=4, inpainting=9, depth=5),
    unused=_UNUSED,
    blocks=_blocks(_SMALL, ("text_encoder",)),
    presets=_PRESETS,
    hub={"": "stabilityai/stable-diffusion-2-1"},
)

SDXL = BaseModel(
    id="sdxl",
    title="Stable Diffusion XL",
    dialect="kohya",
    components=(
        _unet((True, True, False), ("native", "diffusers"), "sgm"),
        _clip("text_encoder", 768, "lora_te1", "clip_l", {"sgm": _own("conditioner.embedders.0.transformer")}),
        _clip("text_encoder_2", 1280, "lora_te2", "clip_g", {"sgm": _openclip("conditioner.embedders.1.model")}),
        vae({"sgm": "first_stage_model"}),
    ),
    probes=(
        Probe(component="unet", module="proj_in", ndim=2),
        Probe(component="unet", module="attn2.to_k", width=2048),
        Probe(component="unet", module="add_embedding.linear_1", present=True),
        Probe(component="unet", module="down_blocks.3.resnets.0.conv1", present=False),
    ),
    claims=("sdxl_base_v1-0", "sdxl", "stable-diffusion-xl"),
    spec=ModelSpec({"": "stable-diffusion-xl-v1-base"}, _STABILITY, "1024x1024"),
    variants=_inputs(base=4, inpainting=9, pix2pix=8),
    unused=_UNUSED_XL,
    blocks=_blocks((True, True, False), ("text_encoder", "text_encoder_2")),
    presets=_PRESETS_XL,
    hub={"": "stabilityai/stable-diffusion-xl-base-1.0"},
)

SDXL_REFINER = BaseModel(
    id="sdxl-refiner",
    title="Stable Diffusion XL refiner",
    dialect="kohya",
    components=(
        _unet((False, True, True, False), ("native", "diffusers"), "sgm"),
        _clip("text_encoder_2", 1280, "lora_te2", "clip_g", {"sgm": _openclip("conditioner.embedders.0.model")}),
        vae({"sgm": "first_stage_model"}),
    ),
    probes=(
        Probe(component="unet", module="proj_in", ndim=2),
        Probe(component="unet", module="attn2.to_k", width=1280),
        Probe(component="unet", module="add_embedding.linear_1", present=True),
        Probe(component="unet", module="down_blocks.3.resnets.0.conv1", present=True),
    ),
    claims=("sdxl_refiner", "stable-diffusion-xl-v1-refiner"),
    spec=ModelSpec({"": "stable-diffusion-xl-v1-refiner"}, _STABILITY, "1024x1024"),
    unused=_UNUSED_XL,
    blocks=_blocks((False, True, True, False), ("text_encoder_2",)),
    hub={"": "stabilityai/stable-diffusion-xl-refiner-1.0"},
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the tables."""
    return [SD1, SD2, SDXL, SDXL_REFINER]
