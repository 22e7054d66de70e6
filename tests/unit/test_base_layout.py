"""What a checkpoint calls the tensors of a base, for every base and layout that is installed."""

from __future__ import annotations

import pytest

from lorry.errors import UnknownName
from lorry.ops.bases.layout import FOLDER, Layout, layouts
from lorry.ops.reading.names import OWN
from lorry.plugin import BaseModel
from lorry.plugin.host import host
from lorry.testing.tables import filled

BASES = host().base_models()
HELD = [pytest.param(model, name, id=f"{model.id}-{name}") for model in BASES.values() for name in layouts(model)]


@pytest.mark.parametrize(("model", "name"), HELD)
def test_every_place_is_found_again(model: BaseModel, name: str) -> None:
    layout = Layout(model, name)
    placed = 0
    for component in model.components:
        for template in component.modules:
            for index in (0, 1):
                for param in ("weight", "bias"):
                    ours = f"{component.name}.{filled(template, (index,))}.{param}"
                    place = layout.place(ours)
                    if place is not None:
                        assert ours in place.stored.names
                        assert layout.find(place.key) == place.stored
                        placed += 1
    assert placed


@pytest.mark.parametrize(("model", "name"), HELD)
def test_what_a_base_says_of_its_checkpoints_is_there(model: BaseModel, name: str) -> None:
    for component in model.components:
        naming = component.checkpoints.get(name)
        assert naming is None or set(naming.schemes) <= {OWN, *component.schemes}
    assert Layout(model, FOLDER).components == tuple(component.name for component in model.components)


NAMES = [
    ("sd1", "ldm", "first_stage_model.decoder.up.3.block.2.nin_shortcut.weight",
     ["vae.decoder.up_blocks.0.resnets.2.conv_shortcut.weight"]),
    ("sd1", "ldm", "cond_stage_model.transformer.embeddings.token_embedding.weight",
     ["text_encoder.text_model.embeddings.token_embedding.weight"]),
    ("sd2", "ldm", "cond_stage_model.model.positional_embedding",
     ["text_encoder.text_model.embeddings.position_embedding.weight"]),
    ("sd2", "ldm", "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_bias",
     [f"text_encoder.text_model.encoder.layers.22.self_attn.{each}_proj.bias" for each in "qkv"]),
    ("sdxl", "sgm", "conditioner.embedders.1.model.text_projection", ["text_encoder_2.text_projection.weight"]),
    ("sdxl", "sgm", "conditioner.embedders.1.model.text_projection.weight", ["text_encoder_2.text_projection.weight"]),
    ("sdxl", "sgm", "model.diffusion_model.label_emb.0.2.bias", ["unet.add_embedding.linear_2.bias"]),
    ("sdxl-refiner", "sgm", "model.diffusion_model.input_blocks.11.0.in_layers.0.bias",
     ["unet.down_blocks.3.resnets.1.norm1.bias"]),
    ("flux1", "bfl", "single_blocks.37.norm.query_norm.scale",
     ["transformer.single_transformer_blocks.37.attn.norm_q.weight"]),
    ("flux1", "comfy", "text_encoders.t5xxl.transformer.shared.weight", ["text_encoder_2.shared.weight"]),
    ("flux1", "comfy", "vae.encoder.mid.attn_1.k.weight", ["vae.encoder.mid_block.attentions.0.to_k.weight"]),
    ("flux2", "bfl", "single_blocks.47.linear1.weight",
     ["transformer.single_transformer_blocks.47.attn.to_qkv_mlp_proj.weight"]),
    ("flux2", "comfy", "vae.bn.running_mean", ["vae.bn.running_mean"]),
    ("flux2", "diffusers", "text_encoder.model.layers.35.mlp.gate_proj.weight",
     ["text_encoder.model.layers.35.mlp.gate_proj.weight"]),
]  # fmt: skip


@pytest.mark.parametrize(("base", "layout", "key", "names"), NAMES, ids=lambda each: str(each)[:60])
def test_published_keys_mean_our_tensors(base: str, layout: str, key: str, names: list[str]) -> None:
    stored = Layout(BASES[base], layout).find(key)
    assert stored is not None
    assert list(stored.names) == names


@pytest.mark.parametrize(
    "key",
    [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model.diffusion_model.input_blocks.0.1.norm.weight",
        "model.diffusion_model.input_blocks.00.0.weight",
        "first_stage_model.decoder.up.4.block.0.norm1.weight",
        "cond_stage_model.model.ln_final.weight",
    ],
)
def test_other_keys_mean_nothing(key: str) -> None:
    assert Layout(BASES["sd1"], "ldm").find(key) is None


def test_a_foreign_name_is_not_kept_but_our_own_are() -> None:
    layout = Layout(BASES["sd1"], "ldm")
    kept = layout.keep("cond_stage_model.transformer.text_model.embeddings.position_ids")
    assert kept is not None
    assert kept.names == ("text_encoder.text_model.embeddings.position_ids",)
    assert layout.keep("model.diffusion_model.strange.weight") is None


def test_an_unknown_layout_offers_those_there_are() -> None:
    with pytest.raises(UnknownName, match="sgm"):
        Layout(BASES["sdxl"], "sgn")
