"""FLUX.1 (dev, schnell, fill, kontext, control): one layout at any width and depth.

Names in the scheme "diffusers" are those of diffusers' FluxTransformer2DModel; "native" are those of Black
Forest Labs' flux/model.py, where query, key and value (and the single block's MLP) are one module, and the
last modulation has shift before scale.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorry.plugin import BaseModel, Component, Naming, Probe, View, hookimpl
from lorry_plugins.bases.text_encoders import clip, t5

LORRY_API = 1

_EMBEDDERS = {"time_in": "timestep", "vector_in": "text", "guidance_in": "guidance"}

_STREAMS = (
    # native stream, our modulation, feed-forward, (query, key, value), output, norms of query and key
    ("img", "norm1", "ff", ("to_q", "to_k", "to_v"), "to_out.0", ("norm_q", "norm_k")),
    ("txt", "norm1_context", "ff_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out",
     ("norm_added_q", "norm_added_k")),
)  # fmt: skip


def _native() -> Iterator[View]:
    """Yield every module; source: diffusers scripts/convert_flux_to_diffusers.py."""
    yield View(name="img_in", parts=("x_embedder",))
    yield View(name="txt_in", parts=("context_embedder",))
    for theirs, ours in _EMBEDDERS.items():
        yield View(name=f"{theirs}.in_layer", parts=(f"time_text_embed.{ours}_embedder.linear_1",))
        yield View(name=f"{theirs}.out_layer", parts=(f"time_text_embed.{ours}_embedder.linear_2",))
    for stream, modulation, feed, qkv, out, norms in _STREAMS:
        theirs, ours = f"double_blocks.{{i}}.{stream}", "transformer_blocks.{i}"
        yield View(name=f"{theirs}_mod.lin", parts=(f"{ours}.{modulation}.linear",))
        yield View(name=f"{theirs}_attn.qkv", parts=tuple(f"{ours}.attn.{each}" for each in qkv), rows=(1, 1, 1))
        yield View(name=f"{theirs}_attn.proj", parts=(f"{ours}.attn.{out}",))
        yield View(name=f"{theirs}_attn.norm.query_norm", parts=(f"{ours}.attn.{norms[0]}",))
        yield View(name=f"{theirs}_attn.norm.key_norm", parts=(f"{ours}.attn.{norms[1]}",))
        yield View(name=f"{theirs}_mlp.0", parts=(f"{ours}.{feed}.net.0.proj",))
        yield View(name=f"{theirs}_mlp.2", parts=(f"{ours}.{feed}.net.2",))
    theirs, ours = "single_blocks.{i}", "single_transformer_blocks.{i}"
    fused = tuple(f"{ours}.{each}" for each in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"))
    yield View(name=f"{theirs}.modulation.lin", parts=(f"{ours}.norm.linear",))
    yield View(name=f"{theirs}.linear1", parts=fused, rows=(1, 1, 1, 4))
    yield View(name=f"{theirs}.linear2", parts=(f"{ours}.proj_out",))
    yield View(name=f"{theirs}.norm.query_norm", parts=(f"{ours}.attn.norm_q",))
    yield View(name=f"{theirs}.norm.key_norm", parts=(f"{ours}.attn.norm_k",))
    yield View(name="final_layer.linear", parts=("proj_out",))
    yield View(name="final_layer.adaLN_modulation.1", parts=("norm_out.linear",), flip=True)


_NATIVE = tuple(_native())

_TRANSFORMER = Component(
    name="transformer",
    modules=tuple(part for view in _NATIVE for part in view.parts),
    schemes={"native": _NATIVE},
    naming={
        "diffusers": Naming(prefixes=("transformer",)),
        "kohya": Naming(prefixes=("lora_unet", "lora_transformer"), schemes=("native", "diffusers")),
    },
)

FLUX1 = BaseModel(
    id="flux1",
    title="FLUX.1",
    components=(
        _TRANSFORMER,
        clip(
            "text_encoder",
            768,
            {"kohya": Naming(prefixes=("lora_te1",)), "embedding": Naming(prefixes=("clip_l",))},
        ),
        # sd-scripts calls the T5 te3, as in SD3; OneTrainer calls it te2.
        t5(
            "text_encoder_2",
            4096,
            {"kohya": Naming(prefixes=("lora_te3", "lora_te2")), "embedding": Naming(prefixes=("t5",))},
        ),
    ),
    probes=(
        Probe(component="transformer", module="attn.to_q", width=3072),
        Probe(component="transformer", module="norm1.linear", present=True),
    ),
    claims=("flux1", "flux-1", "flux.1"),
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the table."""
    return [FLUX1]
