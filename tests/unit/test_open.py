"""Opening adapters: every key accounted for, scales as the tools that write them mean, and doubts told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import Conflict, Incompatible, InvalidFile, NotRecognised, Unmapped
from lorry.ir import Adapter, ModulePath
from lorry.plugin.host import host
from lorry.testing.tables import base_of
from tests.support.files import DIFFUSERS, KOHYA, Tensors, kohya, peft, write

MODULE = ModulePath("unet", DIFFUSERS.removeprefix("unet."))
FC1 = "text_model.encoder.layers.0.mlp.fc1"
FLUX_QKV = "lora_unet_double_blocks_0_img_attn_qkv"


def opened(folder: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None, name: str = "a") -> Adapter:
    adapter = lorry.open(write(folder / f"{name}.safetensors", tensors, metadata))
    assert {*adapter.report.used, *dict(adapter.report.unmapped)} == set(tensors)
    assert not {*adapter.report.used} & {*dict(adapter.report.unmapped)}
    assert set(adapter.extras) == set(dict(adapter.report.unmapped))
    return adapter


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (torch.tensor(4.0), 2.0),
        (torch.tensor(0.0), 1.0),  # sd-scripts and LyCORIS: a zero alpha is alpha = rank
        (torch.tensor(-3.0), -1.5),
        (torch.tensor(1.5, dtype=torch.bfloat16), 0.75),
        (torch.tensor(0.1, dtype=torch.float16), 0.0999755859375 / 2),
        (torch.tensor(0.5, dtype=torch.float8_e4m3fn), 0.25),
        (torch.tensor(1, dtype=torch.int64), 0.5),
        (torch.tensor([3.0]), 1.5),
        (torch.tensor([[3.0]], dtype=torch.float64), 1.5),
        (None, 1.0),
    ],
    ids=str,
)
def test_alpha_by_rank_is_the_scale(alpha: torch.Tensor | None, scale: float, tmp_path: Path) -> None:
    adapter = opened(tmp_path, kohya() if alpha is None else {**kohya(), f"{KOHYA}.alpha": alpha})
    (layer,) = adapter.layers[MODULE]
    assert layer.scale == scale
    assert set(layer.slots) == {"down", "up"}


@pytest.mark.parametrize(
    "alpha",
    [
        torch.tensor(float("nan")),
        torch.tensor(float("inf")),
        torch.tensor([1.0, 2.0]),
        torch.zeros(0),
        torch.tensor(1 + 2j, dtype=torch.complex64),
    ],
    ids=str,
)
def test_an_alpha_that_is_no_number_is_an_invalid_file_that_names_the_module(
    alpha: torch.Tensor, tmp_path: Path
) -> None:
    with pytest.raises(InvalidFile, match=f"{MODULE}: alpha"):
        opened(tmp_path, {**kohya(), f"{KOHYA}.alpha": alpha})


@pytest.mark.parametrize("make", [kohya, peft])
def test_a_rank_of_nothing_is_an_invalid_file(make: Callable[..., Tensors], tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="rank is 0"):
        opened(tmp_path, make(rank=0, alpha=1.0))


NATIVE = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
TWICE = {
    "by both schemes": (kohya(KOHYA), kohya(NATIVE)),
    "by two prefixes": (
        kohya("lora_te2_encoder_block_0_layer_0_SelfAttention_q"),
        kohya("lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
    ),
    "with and without text_model": (
        peft(f"text_encoder.{FC1}"),
        peft(f"text_encoder.{FC1.removeprefix('text_model.')}"),
    ),
    "alone and fused": (
        kohya(FLUX_QKV, rows=12, width=4),
        kohya("lora_unet_transformer_blocks_0_attn_to_q", rows=4, width=4),
    ),
}


@pytest.mark.parametrize(("first", "second"), TWICE.values(), ids=TWICE.keys())
def test_a_module_under_two_names_is_an_error_and_never_summed(first: Tensors, second: Tensors, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="under two names"):
        opened(tmp_path, {**first, **second})


def test_a_number_spelled_another_way_is_another_name(tmp_path: Path) -> None:
    strange = kohya(KOHYA.replace("blocks_1", "blocks_01", 1))
    adapter = opened(tmp_path, {**kohya(), **strange})
    assert set(dict(adapter.report.unmapped)) == set(strange)
    assert len(adapter.layers[MODULE]) == 1


def test_modules_of_one_file_may_follow_different_schemes(tmp_path: Path) -> None:
    other = "lora_unet_down_blocks_1_attentions_1_transformer_blocks_0_attn1_to_k"
    adapter = opened(tmp_path, {**kohya(NATIVE), **kohya(other)}, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert (adapter.base, len(adapter.layers), adapter.report.unmapped) == ("sdxl", 2, ())


@pytest.mark.parametrize("name", [FC1, FC1.removeprefix("text_model.")], ids=["with text_model", "without"])
def test_clip_names_may_lack_the_level_that_transformers_5_dropped(name: str, tmp_path: Path) -> None:
    adapter = opened(tmp_path, peft(f"text_encoder.{name}"))
    assert list(adapter.layers) == [ModulePath("text_encoder", FC1)]


def test_kohya_always_has_the_level_and_says_so(tmp_path: Path) -> None:
    adapter = opened(tmp_path, {**kohya(), **kohya("lora_te_encoder_layers_0_mlp_fc1")})
    assert {reason for _, reason in adapter.report.unmapped} == {"Stable Diffusion 1 has no module of this name"}


@pytest.mark.parametrize("prefix", ["lora_te2", "lora_te3"])
def test_the_t5_of_flux_goes_by_either_number(prefix: str, tmp_path: Path) -> None:
    adapter = opened(tmp_path, kohya(f"{prefix}_encoder_block_1_layer_0_SelfAttention_v"))
    assert (adapter.base, adapter.components) == ("flux1", ("text_encoder_2",))


def test_unknown_keys_are_kept_with_a_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    strange = {
        "weird.key": torch.ones(1),
        f"{KOHYA}.secret_sauce": torch.ones(1),
        "lora_unet_nowhere.alpha": torch.ones(1),
    }
    adapter = opened(tmp_path, {**kohya(alpha=2.0), **strange})
    assert set(dict(adapter.report.unmapped)) == set(strange)
    assert all(reason for _, reason in adapter.report.unmapped)
    with pytest.raises(Unmapped, match="is not understood"):
        lorry.merge([adapter])


def test_half_a_layer_is_no_layer(tmp_path: Path) -> None:
    lonely = {f"{KOHYA.replace('to_q', 'to_k')}.lora_down.weight": torch.ones(2, 8), f"{KOHYA}_x.alpha": torch.ones(())}
    adapter = opened(tmp_path, {**kohya(), **lonely})
    assert len(adapter.layers) == 1
    assert set(dict(adapter.report.unmapped)) == set(lonely)


@pytest.mark.parametrize(("stem", "rows"), [(FLUX_QKV, 10), ("lora_unet_single_blocks_0_linear1", 8)])
def test_fused_rows_that_do_not_divide_are_an_invalid_file(stem: str, rows: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="do not divide"):
        opened(tmp_path, kohya(stem, rows=rows))


def test_metadata_of_any_script_is_kept(tmp_path: Path) -> None:
    told = {"ss_output_name": "höhe 猫 🦝", "empty": "", "lines": "a\nb\t\u0000"}
    assert opened(tmp_path, kohya(), told).metadata == told


@pytest.mark.parametrize(
    ("tensors", "metadata", "base"),
    [
        (kohya(width=320), {}, "sd1"),
        (kohya(KOHYA.replace("attn1_to_q", "attn2_to_k"), width=768), {}, "sd1"),
        (kohya(KOHYA.replace("attn1_to_q", "attn2_to_k"), width=1024), {}, "sd2"),
        (kohya(KOHYA.replace("attn1_to_q", "attn2_to_k"), width=2048), {}, "sdxl"),
        (kohya(), {"ss_base_model_version": "sd_v2"}, "sd2"),
        (kohya(), {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
        (kohya(KOHYA.replace("attn1_to_q", "attn2_to_k"), width=2048), {"ss_base_model_version": "sd_v1"}, "sdxl"),
        (kohya("lora_te1_text_model_encoder_layers_0_mlp_fc1"), {"ss_base_model_version": "flux1"}, "flux1"),
        (kohya("lora_unet_double_blocks_0_img_attn_proj"), {}, "flux1"),
    ],
)
def test_the_base_is_known_by_widths_and_the_headers_claim(
    tensors: Tensors, metadata: Mapping[str, str], base: str, tmp_path: Path
) -> None:
    found = lorry.identify(write(tmp_path / "a.safetensors", tensors, metadata))
    assert found.best is not None
    assert base in {found.best.base, *(each.base for each in found.rivals)}


def test_what_cannot_be_told_is_told(tmp_path: Path) -> None:
    adapter = opened(tmp_path, peft())
    doubts = dict(adapter.report.ambiguous)
    assert doubts["base"].endswith("read as Stable Diffusion 1")
    assert "scale" in doubts
    settled = lorry.open(tmp_path / "a.safetensors", base=base_of(host().base_models()["sd2"], unit=8, width=8))
    assert (settled.base, set(dict(settled.report.ambiguous))) == ("sd2", {"scale"})


def peft_folder(folder: Path, tensors: Tensors) -> Path:
    write(folder / "adapter_model.safetensors", {f"base_model.model.{key}": ref for key, ref in tensors.items()})
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 4, "r": 2}))
    return folder


def test_names_without_a_prefix_are_settled_by_the_bases_shapes(tmp_path: Path) -> None:
    path = peft_folder(tmp_path, peft(FC1, rows=9, width=7))
    base = base_of(host().base_models()["sdxl"], unit=9, width=7)
    doubt = lorry.open(path, base=base)
    assert "text_encoder or text_encoder_2" in dict(doubt.report.ambiguous)["component"]
    other = {name: ref for name, ref in base.tensors.items() if not name.startswith("text_encoder.")}
    settled = lorry.open(path, base=lorry.Base(id="sdxl", path=base.path, tensors=other, files={}))
    assert list(settled.layers) == [ModulePath("text_encoder_2", FC1)]
    assert not settled.report.ambiguous
    assert settled.layers[ModulePath("text_encoder_2", FC1)][0].scale == 2.0


def test_a_broken_layer_is_told_with_a_base_too(tmp_path: Path) -> None:
    tensors = {f"{FC1}.lora_A.weight": torch.ones(8), f"{FC1}.lora_B.weight": torch.ones(8, 2)}
    path = peft_folder(tmp_path, tensors)
    with pytest.raises(InvalidFile, match="make no LoRA"):
        lorry.open(path, base=base_of(host().base_models()["sdxl"]))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (kohya("lora_unet_double_blocks_0_img_attn_proj"), "is for FLUX.1, not for Stable Diffusion 1"),
        (kohya(rows=16, width=16), "weight of shape"),
        (kohya(KOHYA.replace("down_blocks_1", "down_blocks_3")), "no such module"),
    ],
)
def test_an_adapter_for_another_base_is_incompatible(tensors: Tensors, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(Incompatible, match=says):
        lorry.open(path, base=base_of(host().base_models()["sd1"], unit=8, width=8))


def test_a_base_model_is_no_adapter(tmp_path: Path) -> None:
    base = base_of(host().base_models()["sd1"])
    weights = {
        name.removeprefix("unet."): ref.torch() for name, ref in base.tensors.items() if name.startswith("unet.")
    }
    with pytest.raises(NotRecognised, match="base model's weights"):
        lorry.open(write(tmp_path / "a.safetensors", weights))


def test_several_files_are_one_adapter(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "cat.safetensors", kohya()),
        write(tmp_path / "token.safetensors", {"emb_params": torch.ones(2, 768)}),
    ]
    adapter = lorry.open(paths)
    assert (adapter.kinds, list(adapter.tokens)) == (("lora", "textual-inversion"), ["token"])
    assert len(adapter.report.used) == 3


def test_files_for_different_bases_are_no_adapter(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a.safetensors", kohya("lora_unet_double_blocks_0_img_attn_proj")),
        write(tmp_path / "b.safetensors", kohya()),
    ]
    with pytest.raises(Incompatible, match="as the other files of this adapter are"):
        lorry.open(paths)


def test_one_token_in_two_files_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    paths = [
        write(folder / "cat.safetensors", {"emb_params": torch.ones(2, 768)})
        for folder in (tmp_path, tmp_path / "more")
    ]
    with pytest.raises(Conflict, match="'cat' is in two of the files"):
        lorry.open(paths)
