"""FLUX.1 (dev, schnell, fill, kontext, control): one layout at any width and depth.

Names in the scheme "diffusers" are those of diffusers' FluxTransformer2DModel; "native" are those of Black
Forest Labs' flux/model.py, where query, key and value (and the single block's MLP) are one module, and the
last modulation has shift before scale.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorry.plugin import BaseModel, Component, ModelSpec, Naming, Probe, View, hookimpl
from lorry_plugins.bases.text_encoders import clip, t5
from lorry_plugins.bases.vae import vae

LORRY_API = 1

_EMBEDDERS = {"time_in": "timestep", "vector_in": "text", "guidance_in": "guidance"}

_STREAMS = (
    # native stream, our modulation, feed-forward, (query, key, value), output, norms of query and key
    ("img", "norm1", "ff", ("to_q", "to_k", "to_v"), "to_out.0", ("norm_q", "norm_k")),
    ("txt", "norm1_context", "ff_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out",
     ("norm_added_q", "norm_added_k")),
)  # fmt: skip

_NORM = (("scale", "weight"), ("weight", "weight"))


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
        yield View(name=f"{theirs}_attn.norm.query_norm", parts=(f"{ours}.attn.{norms[0]}",), params=_NORM)
        yield View(name=f"{theirs}_attn.norm.key_norm", parts=(f"{ours}.attn.{norms[1]}",), params=_NORM)
        yield View(name=f"{theirs}_mlp.0", parts=(f"{ours}.{feed}.net.0.proj",))
        yield View(name=f"{theirs}_mlp.2", parts=(f"{ours}.{feed}.net.2",))
    theirs, ours = "single_blocks.{i}", "single_transformer_blocks.{i}"
    fused = tuple(f"{ours}.{each}" for each in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"))
    yield View(name=f"{theirs}.modulation.lin", parts=(f"{ours}.norm.linear",))
    yield View(name=f"{theirs}.linear1", parts=fused, rows=(1, 1, 1, 4))
    yield View(name=f"{theirs}.linear2", parts=(f"{ours}.proj_out",))
    yield View(name=f"{theirs}.norm.query_norm", parts=(f"{ours}.attn.norm_q",), params=_NORM)
    yield View(name=f"{theirs}.norm.key_norm", parts=(f"{ours}.attn.norm_k",), params=_NORM)
    yield View(name="final_layer.linear", parts=("proj_out",))
    yield View(name="final_layer.adaLN_modulation.1", parts=("norm_out.linear",), flip=True)


_NATIVE = tuple(_native())

# ComfyUI has names of its own for the first three parts of a single block's linear1; USO trains those alone.
_COMFY = (
    *_NATIVE,
    View(
        name="single_blocks.{i}.linear1_qkv",
        parts=tuple(f"single_transformer_blocks.{{i}}.attn.{each}" for each in ("to_q", "to_k", "to_v")),
        rows=(1, 1, 1),
    ),
)


def _omi() -> Iterator[View]:
    """Yield the native names with every part of a fused module numbered.

    Source: OneTrainer modules/util/convert/lora/convert_flux_lora.py.
    """
    for view in _NATIVE:
        if view.name == "img_in":
            yield view._replace(name="img_in.proj")
        if len(view.parts) == 1:
            yield view
        for at, part in enumerate(view.parts if len(view.parts) > 1 else ()):
            yield View(name=f"{view.name}.{at}", parts=(part,))


def _xlabs() -> Iterator[View]:
    """Yield what XLabs' and USO's attention processors adapt.

    Source: x-flux src/flux/modules/layers.py; ComfyUI comfy/lora_convert.py, `convert_uso_lora`.
    """
    theirs, ours = "double_blocks.{i}.processor", "transformer_blocks.{i}.attn"
    for number, (_, _, _, qkv, out, _) in enumerate(_STREAMS, 1):
        yield View(f"{theirs}.qkv_lora{number}", tuple(f"{ours}.{each}" for each in qkv), rows=(1, 1, 1))
        yield View(f"{theirs}.proj_lora{number}", (f"{ours}.{out}",))
    yield View("single_blocks.{i}.processor.qkv_lora", _COMFY[-1].parts, rows=(1, 1, 1))
    yield View("single_blocks.{i}.processor.proj_lora", ("single_transformer_blocks.{i}.proj_out",))


_DIFFSYNTH_NAMES = {
    "img_in": "x_embedder", "txt_in": "context_embedder",
    "time_in": "time_embedder.timestep_embedder", "guidance_in": "guidance_embedder.timestep_embedder",
    "vector_in": "pooled_text_embedder", "double_blocks": "blocks", "img_attn": "attn.a", "txt_attn": "attn.b",
    "img_mlp": "ff_a", "txt_mlp": "ff_b", "img_mod": "norm1_a", "txt_mod": "norm1_b", "linear1": "to_qkv_mlp",
    "linear2": "proj_out", "modulation": "norm", "final_layer.linear": "final_proj_out",
    "final_layer.adaLN_modulation.1": "final_norm_out.linear", "in_layer": "0", "out_layer": "2", "lin": "linear",
}  # fmt: skip


def _diffsynth() -> Iterator[View]:
    """Yield the native modules under the names of DiffSynth-Studio's FluxDiT.

    Source: DiffSynth-Studio diffsynth/models/flux_dit.py, `from_civitai`.
    """
    for view in _NATIVE:
        if "_norm" not in view.name:
            words = _DIFFSYNTH_NAMES.get(view.name) or ".".join(
                _DIFFSYNTH_NAMES.get(word, word) for word in view.name.split(".")
            )
            words = words.replace(".a.", ".a_to_").replace(".b.", ".b_to_").replace("to_proj", "to_out")
            yield view._replace(name=words)


_TRANSFORMER = Component(
    name="transformer",
    modules=tuple(part for view in _NATIVE for part in view.parts),
    # Every table of this family gives these names to its schemes, and the naming families below: "comfy" (after
    # diffusion_model), "original" (bare), "omi", "onetrainer", "xlabs", "diffsynth", "peft-named".
    schemes={
        "native": _NATIVE,
        "comfy": _COMFY,
        "omi": tuple(_omi()),
        "xlabs": tuple(_xlabs()),
        "diffsynth": tuple(_diffsynth()),
    },
    naming={
        "diffusers": Naming(prefixes=("transformer",)),
        "": Naming(prefixes=("",), schemes=("diffusers", "native")),
        "kohya": Naming(prefixes=("lora_unet", "oft_unet"), schemes=("native", "diffusers")),
        "comfy": Naming(prefixes=("diffusion_model",), schemes=("comfy",)),
        "original": Naming(prefixes=("",), schemes=("native",)),
        "omi": Naming(prefixes=("transformer",), schemes=("omi",)),
        "onetrainer": Naming(prefixes=("lora_transformer",)),
        "xlabs": Naming(prefixes=("",), schemes=("xlabs",)),
        "diffsynth": Naming(prefixes=("", "pipe.dit"), schemes=("diffsynth",)),
        "peft-named": Naming(prefixes=("transformer", "base_model.model", "")),
    },
    checkpoints={
        "bfl": Naming(prefixes=("",), schemes=("native",)),
        "comfy": Naming(prefixes=("model.diffusion_model", "diffusion_model"), schemes=("native",)),
    },
)

_DEV = Probe(component="transformer", module="guidance_embedder.linear_1", present=True)


def _inputs(width: int) -> Probe:
    return Probe(component="transformer", module="x_embedder", width=width)


FLUX1 = BaseModel(
    id="flux1",
    title="FLUX.1",
    dialect="kohya",
    components=(
        _TRANSFORMER,
        clip(
            "text_encoder",
            768,
            {
                "kohya": Naming(prefixes=("lora_te1",)),
                "onetrainer": Naming(prefixes=("lora_te1",)),
                "embedding": Naming(prefixes=("clip_l",)),
            },
            {"comfy": Naming(prefixes=("text_encoders.clip_l.transformer",))},
        ),
        # sd-scripts calls the T5 te3, as in SD3; OneTrainer calls it te2.
        t5(
            "text_encoder_2",
            4096,
            {
                "kohya": Naming(prefixes=("lora_te3", "lora_te2")),
                "onetrainer": Naming(prefixes=("lora_te2",)),
                "embedding": Naming(prefixes=("t5",)),
            },
            {"comfy": Naming(prefixes=("text_encoders.t5xxl.transformer",))},
        ),
        vae({"comfy": "vae"}),
    ),
    probes=(
        Probe(component="transformer", module="attn.to_q", width=3072),
        Probe(component="transformer", module="ff.net.0.proj", ratio=4),
        Probe(component="transformer", module="norm1.linear", present=True),
    ),
    claims=("flux1", "flux-1", "flux.1", "flux_1"),
    spec=ModelSpec(
        {"": "flux-1", "dev": "flux-1-dev", "schnell": "flux-1-schnell"},
        "https://github.com/black-forest-labs/flux",
        "1024x1024",
    ),
    # Kontext and Krea have the tensors of dev, to the last shape; canny and depth those of one another.
    variants={
        "dev": (_DEV, _inputs(64)),
        "kontext": (_DEV, _inputs(64)),
        "schnell": (_DEV._replace(present=False), _inputs(64)),
        "fill": (_DEV, _inputs(384)),
        "control": (_DEV, _inputs(128)),
    },
    unused=tuple(f"text_encoders.{name}.logit_scale" for name in ("clip_l", "t5xxl")),
    hub={"": "black-forest-labs/FLUX.1-dev"},
)


@hookimpl
def lorry_base_models() -> list[BaseModel]:
    """Offer the table."""
    return [FLUX1]
