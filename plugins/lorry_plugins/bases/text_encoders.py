"""Module names of the text encoders that several bases share."""

from __future__ import annotations

from collections.abc import Mapping

from lorry.plugin import Component, Naming, View

_CLIP_LAYER = (
    "layer_norm1", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
    "layer_norm2", "mlp.fc1", "mlp.fc2",
)  # fmt: skip

_CLIP = (
    "embeddings.token_embedding",
    "embeddings.position_embedding",
    *(f"encoder.layers.{{i}}.{leaf}" for leaf in _CLIP_LAYER),
    "final_layer_norm",
)

_T5_LAYER = (
    "layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.0.SelfAttention.o",
    "layer.0.SelfAttention.relative_attention_bias", "layer.0.layer_norm",
    "layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1", "layer.1.DenseReluDense.wo", "layer.1.layer_norm",
)  # fmt: skip


def clip(name: str, embedding: int, naming: Mapping[str, Naming]) -> Component:
    """Return a CLIP text encoder; transformers 5 writes its names without the level `text_model`."""
    return Component(
        name=name,
        modules=(*(f"text_model.{module}" for module in _CLIP), "text_projection"),
        schemes={"transformers5": tuple(View(name=module, parts=(f"text_model.{module}",)) for module in _CLIP)},
        naming={
            "diffusers": Naming(prefixes=(name,), schemes=("diffusers", "transformers5")),
            "": Naming(prefixes=("",), schemes=("diffusers", "transformers5")),
            **naming,
        },
        embedding=embedding,
        vocabulary="text_model.embeddings.token_embedding",
        tokenizer=name.replace("text_encoder", "tokenizer"),
    )


def t5(name: str, embedding: int, naming: Mapping[str, Naming]) -> Component:
    """Return the encoder half of a T5."""
    return Component(
        name=name,
        modules=("shared", *(f"encoder.block.{{i}}.{leaf}" for leaf in _T5_LAYER), "encoder.final_layer_norm"),
        naming={"diffusers": Naming(prefixes=(name,)), **naming},
        embedding=embedding,
        vocabulary="shared",
        tokenizer=name.replace("text_encoder", "tokenizer"),
    )
