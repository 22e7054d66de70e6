"""Module names of the text encoders that several bases share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lorry.plugin import Component, Naming, View

_CLIP_LAYER = (
    "layer_norm1", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
    "layer_norm2", "mlp.fc1", "mlp.fc2",
)  # fmt: skip

_CLIP_LOOKUPS = ("embeddings.token_embedding", "embeddings.position_embedding")

_CLIP = (
    *_CLIP_LOOKUPS,
    *(f"encoder.layers.{{i}}.{leaf}" for leaf in _CLIP_LAYER),
    "final_layer_norm",
)

_T5_LAYER = (
    "layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.0.SelfAttention.o",
    "layer.0.SelfAttention.relative_attention_bias", "layer.0.layer_norm",
    "layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1", "layer.1.DenseReluDense.wo", "layer.1.layer_norm",
)  # fmt: skip

_BARE = (("", "weight"),)


def _openclip() -> Iterator[View]:
    """Yield every module; source: diffusers loaders/single_file_utils.py, `convert_open_clip_checkpoint`."""
    yield View(name="positional_embedding", parts=("text_model.embeddings.position_embedding",), params=_BARE)
    yield View(name="token_embedding", parts=("text_model.embeddings.token_embedding",))
    theirs, ours = "transformer.resblocks.{i}", "text_model.encoder.layers.{i}"
    leaves = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for native, leaf in {**leaves, "attn.out_proj": "self_attn.out_proj"}.items():
        yield View(name=f"{theirs}.{native}", parts=(f"{ours}.{leaf}",))
    yield View(
        name=f"{theirs}.attn",
        parts=tuple(f"{ours}.self_attn.{leaf}" for leaf in ("q_proj", "k_proj", "v_proj")),
        rows=(1, 1, 1),
        params=(("in_proj_weight", "weight"), ("in_proj_bias", "bias")),
    )
    yield View(name="ln_final", parts=("text_model.final_layer_norm",))
    yield View(name="text_projection", parts=("text_projection",), params=_BARE, transposed=True)


_PROCESSORS = tuple(
    View(
        f"text_model.encoder.layers.{{i}}.self_attn.to_{leaf}_lora",
        (f"text_model.encoder.layers.{{i}}.self_attn.{leaf}_proj",),
    )
    for leaf in ("q", "k", "v", "out")
)
"""What diffusers 0.11 to 0.17 trained in a text encoder: its attention alone."""


def _native(encoder: str) -> dict[str, Naming]:
    """Return what tools that keep the names of single-file checkpoints call an encoder (clip_l, clip_g, t5 …)."""
    comfy = {"t5": "t5xxl"}.get(encoder, encoder)
    return {
        "comfy": Naming(prefixes=(f"text_encoders.{comfy}.transformer",)),
        "omi": Naming(prefixes=(encoder,)),
    }


def clip(
    name: str, embedding: int, naming: Mapping[str, Naming], checkpoints: Mapping[str, Naming] | None = None
) -> Component:
    """Return a CLIP text encoder; transformers 5 writes its names without the level `text_model`.

    "openclip" is the scheme of OpenCLIP's own names, in which Stability's checkpoints hold it; "openclip-linear" is
    the one name that some tools change in it.
    """
    own = ("diffusers", "transformers5")
    return Component(
        name=name,
        modules=(*(f"text_model.{module}" for module in _CLIP), "text_projection"),
        schemes={
            "transformers5": tuple(View(name=module, parts=(f"text_model.{module}",)) for module in _CLIP),
            "openclip": tuple(_openclip()),
            "openclip-linear": (View(name="text_projection", parts=("text_projection",)),),
            "processor": _PROCESSORS,
            "cloneofsimo": tuple(View(view.parts[0], view.parts) for view in _PROCESSORS),
            "lora_linear_layer": tuple(
                View(f"text_model.{module}.lora_linear_layer", (f"text_model.{module}",)) for module in _CLIP
            ),
        },
        naming={
            "diffusers": Naming(prefixes=(name,), schemes=own),
            "": Naming(prefixes=("",), schemes=own),
            "attn-procs": Naming(prefixes=(name,), schemes=("processor", "lora_linear_layer")),
            "lora-layers": Naming(prefixes=(name,), schemes=("lora_linear_layer", "processor")),
            "peft-named": Naming(prefixes=(name,), schemes=own),
            **_native(naming["embedding"].prefixes[0]),
            **naming,
        },
        checkpoints={"diffusers": Naming(prefixes=(name,), schemes=own), **(checkpoints or {})},
        embedding=embedding,
        vocabulary="text_model.embeddings.token_embedding",
        lookups=tuple(f"text_model.{module}" for module in _CLIP_LOOKUPS),
        tokenizer=name.replace("text_encoder", "tokenizer"),
    )


def t5(
    name: str, embedding: int, naming: Mapping[str, Naming], checkpoints: Mapping[str, Naming] | None = None
) -> Component:
    """Return the encoder half of a T5."""
    return Component(
        name=name,
        modules=("shared", *(f"encoder.block.{{i}}.{leaf}" for leaf in _T5_LAYER), "encoder.final_layer_norm"),
        naming={
            "diffusers": Naming(prefixes=(name,)),
            "peft-named": Naming(prefixes=(name,)),
            **_native(naming["embedding"].prefixes[0]),
            **naming,
        },
        checkpoints=checkpoints or {},
        embedding=embedding,
        vocabulary="shared",
        lookups=("shared", "encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias"),
        tokenizer=name.replace("text_encoder", "tokenizer"),
    )
