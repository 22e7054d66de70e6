"""Opening bases from whatever holds them: files, pickles, shards, folders of one component."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import Incompatible, InvalidFile, NotRecognised
from lorry.ir import ModulePath
from lorry.ops.bases.quantised import quantised
from lorry.ops.reading.identify import variants
from lorry.plugin.host import host
from tests.support.files import Tensors, write

WIDTH = 32


def flux2(width: int = WIDTH, *, prefix: str = "") -> Tensors:
    """Return the least that makes a FLUX.2 transformer, as BFL names it."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "img_in": (width, 16),
        "single_stream_modulation.lin": (3 * width, width),
        "double_blocks.0.img_attn.qkv": (3 * width, width),
        "double_blocks.0.img_mlp.0": (6 * width, width),
        "single_blocks.0.linear1": (9 * width, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    tensors = {f"{prefix}{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**tensors, f"{prefix}single_blocks.0.norm.key_norm.scale": torch.randn(16, generator=generator)}


def folder_of(tensors: Tensors, folder: Path) -> Path:
    """Give the same numbers the names of diffusers."""
    query, key, value = tensors["double_blocks.0.img_attn.qkv.weight"].chunk(3)
    shift, scale = tensors["final_layer.adaLN_modulation.1.weight"].chunk(2)
    single = "single_transformer_blocks.0.attn"
    named = {
        "x_embedder.weight": tensors["img_in.weight"],
        "single_stream_modulation.linear.weight": tensors["single_stream_modulation.lin.weight"],
        "transformer_blocks.0.attn.to_q.weight": query.contiguous(),
        "transformer_blocks.0.attn.to_k.weight": key.contiguous(),
        "transformer_blocks.0.attn.to_v.weight": value.contiguous(),
        "transformer_blocks.0.ff.linear_in.weight": tensors["double_blocks.0.img_mlp.0.weight"],
        f"{single}.to_qkv_mlp_proj.weight": tensors["single_blocks.0.linear1.weight"],
        "norm_out.linear.weight": torch.cat([scale, shift]),
        f"{single}.norm_k.weight": tensors["single_blocks.0.norm.key_norm.scale"],
    }
    (folder / "transformer").mkdir(parents=True)
    write(folder / "transformer" / "diffusion_pytorch_model.safetensors", named)
    return folder


def same(one: lorry.Base, other: lorry.Base) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        ref.same(other.tensors[name]) for name, ref in one.tensors.items()
    )


def test_a_pickle_with_a_state_dict_is_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": flux2(), "global_step": 7}, tmp_path / "a.ckpt")
    assert same(lorry.open_base(tmp_path / "a.ckpt"), lorry.open_base(folder_of(flux2(), tmp_path / "folder")))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_single_file_is_the_folder_under_other_names(tmp_path: Path, prefix: str) -> None:
    single = lorry.open_base(write(tmp_path / "a.safetensors", flux2(prefix=prefix)))
    assert (single.id, single.layout) == ("flux2", "comfy" if prefix else "bfl")
    assert single.components == {"transformer"}
    assert same(single, lorry.open_base(folder_of(flux2(), tmp_path / "folder")))


def test_one_component_is_a_base_as_a_file_a_folder_and_in_shards(tmp_path: Path) -> None:
    whole = lorry.open_base(folder_of(flux2(), tmp_path / "folder"))
    component = tmp_path / "folder" / "transformer"
    assert same(lorry.open_base(component), whole)
    assert same(lorry.open_base(component / "diffusion_pytorch_model.safetensors"), whole)
    shards = tmp_path / "shards"
    shards.mkdir()
    index: dict[str, str] = {}
    tensors = {name.removeprefix("transformer."): ref.torch() for name, ref in whole.tensors.items()}
    for at, name in enumerate(("one", "two")):
        part = dict(list(tensors.items())[at::2])
        write(shards / f"{name}.safetensors", part)
        index |= dict.fromkeys(part, f"{name}.safetensors")
    (shards / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(lorry.open_base(shards), whole)
    (shards / "two.safetensors").unlink()
    with pytest.raises(InvalidFile, match="not beside it"):
        lorry.open_base(shards)


def test_an_attention_block_of_old_diffusers_is_read(tmp_path: Path) -> None:
    folder = folder_of(flux2(), tmp_path / "folder")
    (folder / "vae").mkdir()
    tensors = {"encoder.mid_block.attentions.0.proj_attn.weight": torch.ones(4, 4)}
    write(folder / "vae" / "diffusion_pytorch_model.safetensors", tensors)
    assert "vae.encoder.mid_block.attentions.0.to_out.0.weight" in lorry.open_base(folder).tensors


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    tensors = flux2() | {"single_blocks.0.norm.key_norm.weight": torch.zeros(16)}
    with pytest.raises(InvalidFile, match="under two names"):
        lorry.open_base(write(tmp_path / "a.safetensors", tensors))


def test_an_adapter_is_no_base_and_a_base_no_adapter(tmp_path: Path) -> None:
    lora = {f"{name.removesuffix('.weight')}.hada_w1_a": each for name, each in flux2().items()}
    with pytest.raises(NotRecognised, match="no installed base table fits"):
        lorry.open_base(write(tmp_path / "lora.safetensors", lora))
    with pytest.raises(NotRecognised, match=r"is a base model's weights \(FLUX\.2, bfl\)"):
        lorry.open(write(tmp_path / "base.safetensors", flux2()))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("model.diffusion_model.scaled_fp8", "fp8"),
        ("double_blocks.0.img_attn.qkv.scale_weight", "fp8"),
        ("transformer_blocks.0.attn.to_q.weight.quant_state.bitsandbytes__nf4", "4-bit weights of bitsandbytes"),
        ("transformer_blocks.0.attn.to_q.SCB", "8-bit"),
        ("transformer_blocks.0.qkv_proj.qweight", "SVDQuant"),
        ("transformer_blocks.0.attn.norm_q.weight", ""),
    ],
)
def test_quantised_weights_are_told_by_what_stands_beside_them(key: str, what: str) -> None:
    found = quantised(["x_embedder.weight", key])
    assert what in found
    assert bool(found) == bool(what)


def test_packed_weights_are_opened_for_what_they_are(tmp_path: Path) -> None:
    folder = folder_of(flux2(), tmp_path / "folder")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    name = "transformer_blocks.0.attn.to_q.weight"
    tensors = {key.removeprefix("transformer."): ref.torch() for key, ref in lorry.open_base(folder).tensors.items()}
    tensors |= {name: torch.zeros(512, 1, dtype=torch.uint8), f"{name}.absmax": torch.ones(16)}
    base = lorry.open_base(write(file, tensors).parent)
    assert base.quantised == "4-bit weights of bitsandbytes"
    assert ModulePath("transformer", name.removesuffix(".weight")) not in base.shapes


def test_packed_weights_under_names_of_their_own_are_refused_with_the_reason(tmp_path: Path) -> None:
    packed = {f"transformer_blocks.0.qkv_proj.{leaf}": torch.zeros(4, 4) for leaf in ("qweight", "wscales")}
    with pytest.raises(Incompatible, match="SVDQuant"):
        lorry.open_base(write(tmp_path / "a.safetensors", packed))


def test_gguf_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(NotRecognised, match="GGUF file: quantised weights"):
        lorry.open_base(tmp_path / "a.gguf")


FLUX1_INPUTS = ModulePath("transformer", "x_embedder")
GUIDANCE = ModulePath("transformer", "time_text_embed.guidance_embedder.linear_1")
CONV_IN = ModulePath("unet", "conv_in")
QUERY = ModulePath("transformer", "transformer_blocks.0.attn.to_q")


@pytest.mark.parametrize(
    ("base", "shapes", "part", "found"),
    [
        ("flux1", {FLUX1_INPUTS: (3072, 384)}, "layers", {"fill"}),
        ("flux1", {FLUX1_INPUTS: (3072, 128)}, "layers", {"control"}),
        ("flux1", {FLUX1_INPUTS: (3072, 64)}, "layers", {"dev", "kontext", "schnell"}),
        ("flux1", {FLUX1_INPUTS: (3072, 64)}, "whole", {"schnell"}),
        ("flux1", {FLUX1_INPUTS: (3072, 64), GUIDANCE: (3072, 256)}, "whole", {"dev", "kontext"}),
        ("flux1", {QUERY: (3072, 3072)}, "layers", {"dev", "kontext", "schnell", "fill", "control"}),
        ("sd1", {CONV_IN: (320, 4, 3, 3)}, "whole", {"base"}),
        ("sd1", {CONV_IN: (320, 9, 3, 3)}, "whole", {"inpainting"}),
        ("sd1", {CONV_IN: (320, 8, 3, 3)}, "layers", {"pix2pix"}),
        ("sd1", {QUERY: (320, 320)}, "layers", {"base", "inpainting", "pix2pix"}),
        ("sd2", {CONV_IN: (320, 5, 3, 3)}, "whole", {"depth"}),
        ("sd2", {CONV_IN: (320, 8, 3, 3)}, "whole", set()),
        ("sdxl", {CONV_IN: (320, 9, 3, 3)}, "layers", {"inpainting"}),
        ("flux2", {QUERY: (6144, 6144)}, "layers", {"dev"}),
        ("flux2", {QUERY: (4096, 4096)}, "layers", {"klein-9b"}),
        ("flux2", {QUERY: (3072, -1)}, "layers", {"dev", "klein-9b", "klein-4b"}),
        ("flux2", {QUERY: (WIDTH, WIDTH)}, "layers", set()),
    ],
)
def test_a_variant_is_named_as_far_as_shapes_tell(
    base: str, shapes: dict[ModulePath, tuple[int, ...]], part: str, found: set[str]
) -> None:
    assert set(variants(host().base_models()[base], shapes, whole=part == "whole")) == found
