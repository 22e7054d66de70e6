"""FLUX.2 (dev, klein 4B and 9B): one layout at any width and depth.

Names in the scheme "diffusers" are those of diffusers' Flux2Transformer2DModel; "native" are those of Black Forest
Labs' flux2/model.py, where the double blocks' query, key and value are one module. There are no biases, and all
blocks share three modulations. A base klein and a distilled one have the same tensors.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorry.plugin import BaseModel, Component, ModelSpec, Naming, Probe, View, hookimpl
from lorry_plugins.bases.vae import vae

LORRY_API = 1

_TOP = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
}

_STREAMS = (
    # native stream, our feed-forward, (query, key, value), output, norms of query and key
    ("img", "ff", ("to_q", "to_k", "to_v"), "to_out.0", ("norm_q", "norm_k")),
    ("txt", "ff_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", ("norm_added_q", "norm_added_k")),
)

_NORM = (("scale", "weight"), ("weight", "weight"))

_QUANT = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv", "bn": "bn"}
"""What stands between the halves of the VAE; source: flux2/autoencoder.py."""


def _native() -> Iterator[View]:
    """Yield every module; source: diffusers loaders/single_file_utils.py, `convert_flux2_transformer_checkpoint…`."""
    for theirs, ours in _TOP.items():
        yield View(name=theirs, parts=(ours,))
    for stream, feed, qkv, out, norms in _STREAMS:
        theirs, ours = f"double_blocks.{{i}}.{stream}", "transformer_blocks.{i}"
        yield View(name=f"{theirs}_attn.qkv", parts=tuple(f"{ours}.attn.{each}" for each in qkv), rows=(1, 1, 1))
        yield View(name=f"{theirs}_attn.proj", parts=(f"{ours}.attn.{out}",))
        yield View(name=f"{theirs}_attn.norm.query_norm", parts=(f"{ours}.attn.{norms[0]}",), params=_NORM)
        yield View(name=f"{theirs}_attn.norm.key_norm", parts=(f"{ours}.attn.{norms[1]}",), params=_NORM)
        yield View(name=f"{theirs}_mlp.0", parts=(f"{ours}.{feed}.linear_in",))
        yield View(name=f"{theirs}_mlp.2", parts=(f"{ours}.{feed}.linear_out",))
    theirs, ours = "single_blocks.{i}", "single_transformer_blocks.{i}.attn"
    yield View(name=f"{theirs}.linear1", parts=(f"{ours}.to_qkv_mlp_proj",))
    yield View(name=f"{theirs}.linear2", parts=(f"{ours}.to_out",))
    yield View(name=f"{theirs}.norm.query_norm", parts=(f"{ours}.norm_q",), params=_NORM)
    yield View(name=f"{theirs}.norm.key_norm", parts=(f"{ours}.norm_k",), params=_NORM)
    yield View(name="final_layer.adaLN_modulation.1", parts=("norm_out.linear",), flip=True)


_NATIVE = tuple(_native())

_TRANSFORMER = Component(
    name="transformer",
    modules=tuple(part for view in _NATIVE for part in view.parts),
    schemes={"native": _NATIVE},
    naming={
        "diffusers": Naming(prefixes=("transformer",)),
        "": Naming(prefixes=("",), schemes=("diffusers", "native")),
        "kohya": Naming(prefixes=("lora_unet",), schemes=("native", "diffusers")),
        "comfy": Naming(prefixes=("diffusion_model",), schemes=("native",)),
        "original": Naming(prefixes=("",), schemes=("native",)),
        "peft-named": Naming(prefixes=("transformer", "base_model.model", "")),
    },
    checkpoints={
        "bfl": Naming(prefixes=("",), schemes=("native",)),
        "comfy": Naming(prefixes=("model.diffusion_model", "diffusion_model"), schemes=("native",)),
    },
)

_DECODER_LAYER = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "self_attn.q_norm", "self_attn.k_norm",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip

_DECODER = ("embed_tokens", *(f"layers.{{i}}.{leaf}" for leaf in _DECODER_LAYER), "norm")

# Qwen3 of klein has its layers under "model", the language half of dev's Mistral 3 under "language_model.model".
# Neither has one vocabulary module for both, and no tool teaches them tokens.
_TEXT_ENCODER = Component(
    name="text_encoder",
    modules=(*(f"{lead}.{module}" for lead in ("model", "language_model.model") for module in _DECODER), "lm_head"),
    naming={"diffusers": Naming(prefixes=("text_encoder",))},
    lookups=tuple(f"{lead}.embed_tokens" for lead in ("model", "language_model.model")),
    tokenizer="tokenizer",
)


def _size(width: int) -> tuple[Probe, ...]:
    return tuple(
        Probe(component="transformer", module=module, width=width)
        for module in ("attn.to_q", "attn.to_qkv_mlp_proj", "ff.linear_in", "proj_out")
    )


FLUX2 = BaseModel(
    id="flux2",
    title="FLUX.2",
    dialect="diffusers",
    components=(
        _TRANSFORMER,
        _TEXT_ENCODER,
        vae({"comfy": "vae"}, _QUANT),
    ),
    probes=(
        Probe(component="transformer", module="attn.to_q", width=(3072, 4096, 6144)),
        Probe(component="transformer", module="ff.linear_in", ratio=6),
        Probe(component="transformer", module="attn.to_qkv_mlp_proj", ratio=9),
        # 8 double blocks at most; only FLUX.1, whose attention has the same names, has more.
        Probe(component="transformer", module="transformer_blocks.8.attn.to_q", present=False),
        Probe(component="transformer", module="single_stream_modulation.linear", present=True),
    ),
    claims=("flux2", "flux-2", "flux.2", "flux_2"),
    # As musubi-tuner writes them.
    spec=ModelSpec(
        {"": "Flux.2", "dev": "Flux.2-dev", "klein-9b": "Flux.2-klein-9b", "klein-4b": "Flux.2-klein-4b"},
        "https://github.com/black-forest-labs/flux2",
        "1024x1024",
    ),
    variants={"dev": _size(6144), "klein-9b": _size(4096), "klein-4b": _size(3072)},
    hub={
        "dev": "black-forest-labs/FLUX.2-dev",
        "klein-9b": "black-forest-labs/FLUX.2-klein-9B",
        "klein-4b": "black-forest-labs/FLUX.2-klein-4B",
    },
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the table."""
    return [FLUX2]
