"""Each dialect by a handful of its own keys: recognised, named rightly, and written back byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import InvalidArgument, NotRecognised
from lorry.ir import ModulePath
from tests.support.files import Tensors, write

WIDTH = 8

SLOTS = {
    "kohya": ("lora_down.weight", "lora_up.weight"),
    "peft": ("lora_A.weight", "lora_B.weight"),
    "named": ("lora_A.default.weight", "lora_B.default.weight"),
    "processor": ("down.weight", "up.weight"),
}

FLUX_Q = ModulePath("transformer", "transformer_blocks.0.attn.to_q")
FLUX_SINGLE_Q = ModulePath("transformer", "single_transformer_blocks.1.attn.to_q")
UNET_Q = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
UNET_OUT = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0")
CLIP_Q = ModulePath("text_encoder", "text_model.encoder.layers.1.self_attn.q_proj")
T5_Q = ModulePath("text_encoder_2", "encoder.block.0.layer.0.SelfAttention.q")

NATIVE_Q = "middle_block.1.transformer_blocks.0.attn1.to_q"

KEYS = [
    # dialect, slots, scale (told by an alpha where it is not 1), and modules in the file with one that each changes
    ("lycoris", "kohya", 0.5, {"lycoris_transformer_blocks_0_attn_to_q": FLUX_Q}),
    ("lycoris", "kohya", 0.5, {f"lycoris_{UNET_Q.name.replace('.', '_')}": UNET_Q}),
    (
        "comfy",
        "kohya",
        0.5,
        {
            "diffusion_model.double_blocks.0.img_attn.qkv": FLUX_Q,
            "diffusion_model.single_blocks.1.linear1_qkv": FLUX_SINGLE_Q,
            "text_encoders.clip_l.transformer.text_model.encoder.layers.1.self_attn.q_proj": CLIP_Q,
            "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q": T5_Q,
        },
    ),
    ("comfy", "kohya", 0.5, {f"diffusion_model.{NATIVE_Q}": UNET_Q}),
    ("ai-toolkit", "peft", 1, {"diffusion_model.double_blocks.0.img_attn.qkv": FLUX_Q}),
    ("bfl", "peft", 1, {"double_blocks.0.img_attn.qkv": FLUX_Q}),
    ("bfl", "peft", 0.5, {NATIVE_Q: UNET_Q}),
    ("fal", "peft", 1, {"base_model.model.double_blocks.0.img_attn.qkv": FLUX_Q}),
    (
        "xlabs",
        "processor",
        1,
        {
            "double_blocks.0.processor.qkv_lora1": FLUX_Q,
            "double_blocks.0.processor.proj_lora2": FLUX_Q._replace(name="transformer_blocks.0.attn.to_add_out"),
            "single_blocks.1.processor.qkv_lora": FLUX_SINGLE_Q,
        },
    ),
    (
        "onetrainer",
        "kohya",
        0.5,
        {
            "lora_transformer_transformer_blocks_0_attn_to_q": FLUX_Q,
            "lora_te1_text_model_encoder_layers_1_self_attn_q_proj": CLIP_Q,
            "lora_te2_encoder_block_0_layer_0_SelfAttention_q": T5_Q,
        },
    ),
    ("onetrainer-dotted", "kohya", 0.5, {"transformer.transformer_blocks.0.attn.to_q": FLUX_Q}),
    (
        "omi",
        "kohya",
        0.5,
        {
            "transformer.double_blocks.0.img_attn.qkv.0": FLUX_Q,
            "transformer.single_blocks.1.linear1.0": FLUX_SINGLE_Q,
            "transformer.img_in.proj": FLUX_Q._replace(name="x_embedder"),
            "clip_l.text_model.encoder.layers.1.self_attn.q_proj": CLIP_Q,
            "t5.encoder.block.0.layer.0.SelfAttention.q": T5_Q,
        },
    ),
    ("omi", "kohya", 0.5, {f"unet.{NATIVE_Q}": UNET_Q}),
    (
        "diffsynth",
        "named",
        1,
        {
            "blocks.0.attn.a_to_qkv": FLUX_Q,
            "blocks.0.ff_b.2": FLUX_Q._replace(name="transformer_blocks.0.ff_context.net.2"),
        },
    ),
    ("diffsynth", "named", 1, {"pipe.dit.blocks.0.attn.a_to_qkv": FLUX_Q}),
    ("peft-named", "named", 1, {"transformer.transformer_blocks.0.attn.to_q": FLUX_Q}),
    ("peft-named", "named", 1, {f"base_model.model.{UNET_Q.name}": UNET_Q}),
    ("peft-named", "named", 1, {"transformer_blocks.0.attn.to_q": FLUX_Q}),
    (
        "attn-procs",
        "processor",
        1,
        {
            f"unet.{UNET_Q.name.replace('.to_q', '.processor.to_q_lora')}": UNET_Q,
            f"unet.{UNET_Q.name.replace('.to_q', '.processor.to_out_lora')}": UNET_OUT,
            "text_encoder.text_model.encoder.layers.1.self_attn.to_q_lora": CLIP_Q,
        },
    ),
    ("attn-procs", "processor", 1, {UNET_Q.name.replace(".to_q", ".processor.to_q_lora"): UNET_Q}),
    (
        "attn-procs",
        "processor",
        1,
        {
            f"unet.{UNET_Q.name.replace('.to_q', '.processor.to_q_lora')}": UNET_Q,
            f"text_encoder.{CLIP_Q.name}.lora_linear_layer": CLIP_Q,
        },
    ),
    (
        "lora-layers",
        "processor",
        1,
        {f"unet.{UNET_OUT.name}.lora": UNET_OUT, f"text_encoder.{CLIP_Q.name}.lora_linear_layer": CLIP_Q},
    ),
]

CASES = [pytest.param(*case, id=f"{case[0]}-{next(iter(case[3]))}") for case in KEYS]


def made(slots: str, modules: dict[str, ModulePath], *, scale: float) -> Tensors:
    """Return a LoRA for every module, of a different rank each, wide enough for any fused one."""
    generator = torch.Generator().manual_seed(0)
    down, up = SLOTS[slots]
    found: Tensors = {}
    for rank, module in enumerate(modules, 1):
        rows = WIDTH * (3 if module.endswith(("qkv", "qkv_lora", "qkv_lora1")) else 1)
        found[f"{module}.{down}"] = torch.randn(rank, WIDTH, generator=generator)
        found[f"{module}.{up}"] = torch.randn(rows, rank, generator=generator)
        if scale != 1:
            found[f"{module}.alpha"] = torch.tensor(rank * scale)
    return found


@pytest.mark.parametrize(("dialect", "slots", "scale", "modules"), CASES)
def test_its_own_keys_are_recognised_and_name_the_right_modules(
    dialect: str, slots: str, scale: float, modules: dict[str, ModulePath], tmp_path: Path
) -> None:
    tensors = made(slots, modules, scale=scale)
    adapter = lorry.open(write(tmp_path / "a.safetensors", tensors))
    assert adapter.origin[0].dialect == dialect
    assert set(adapter.report.used) == set(tensors)
    down, up = SLOTS[slots]
    for module, path in modules.items():
        (layer,) = adapter.layers[path]
        assert layer.scale == scale
        assert torch.equal(layer.slots["down"].torch(), tensors[f"{module}.{down}"])
        rows = layer.slots["up"].torch()
        assert torch.equal(rows, tensors[f"{module}.{up}"][: len(rows)])


@pytest.mark.parametrize("detour", ["lycoris", "kohya", "diffusers"])
@pytest.mark.parametrize(("dialect", "slots", "scale", "modules"), CASES)
def test_there_and_back_is_the_same_file(
    dialect: str, slots: str, scale: float, modules: dict[str, ModulePath], detour: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.safetensors", made(slots, modules, scale=scale), {"zz": "1", "aa": "2"})
    adapter = lorry.open(source)
    there = lorry.convert(adapter, tmp_path / "b.safetensors", detour, verify=True)
    assert there.proof is not None
    assert there.proof.error <= 1e-6
    lorry.convert(lorry.open(there.saved.path), tmp_path / "c.safetensors", dialect, verify=True)
    assert (tmp_path / "c.safetensors").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("dialect", ["fal", "attn-procs", "lora-layers", "peft-named"])
def test_a_dialect_without_a_scale_has_it_in_its_factors(dialect: str, dtype: torch.dtype, tmp_path: Path) -> None:
    module = "unet." + UNET_Q.name
    tensors = {key: tensor.to(dtype) for key, tensor in made("peft", {module: UNET_Q}, scale=1).items()}
    tensors[f"{module}.alpha"] = torch.tensor(0.3, dtype=torch.float64)
    adapter = lorry.open(write(tmp_path / "a.safetensors", tensors))
    done = lorry.convert(adapter, tmp_path / "b.safetensors", dialect, verify=True)
    assert done.proof is not None
    assert done.proof.error <= 1e-6
    back = lorry.open(done.saved.path)
    assert not [key for key in back.report.used if key.endswith("alpha")]
    assert back.layers[UNET_Q][0].scale == 1


def test_a_file_of_two_named_adapters_is_not_read_as_one(tmp_path: Path) -> None:
    tensors = made("named", {"transformer.transformer_blocks.0.attn.to_q": FLUX_Q}, scale=1)
    other = {key.replace("default", "second"): tensor.clone() for key, tensor in tensors.items()}
    with pytest.raises(NotRecognised) as caught:
        lorry.open(write(tmp_path / "a.safetensors", {**tensors, **other}))
    assert "default, second" in caught.value.reasons["peft-named"]


STRANGERS: dict[str, dict[str, tuple[int, ...]]] = {
    "sai-control-lora": {"lora_controlnet": (0,), "input_blocks.1.1.proj_in.up": (8, 2)},
    "control-lllite": {"lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight": (8, 8)},
    "flux-redux": {"redux_up.weight": (12, 4), "redux_down.weight": (4, 12)},
    "ip-adapter": {"image_proj.proj.weight": (8, 4), "ip_adapter.1.to_k_ip.weight": (8, 8)},
    "pulid": {"pulid_ca.0.to_q.weight": (8, 8)},
    "nunchaku": {"transformer_blocks.0.qkv_proj.lora_down": (8, 16), "transformer_blocks.0.qkv_proj.lora_up": (24, 16)},
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_adapter_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    own = made("peft", {"unet." + UNET_Q.name: UNET_Q}, scale=1)  # a few layers it could be read for
    tensors = {**{key: torch.zeros(shape) for key, shape in STRANGERS[name].items()}, **own}
    path = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(NotRecognised) as caught:
        lorry.open(path)
    assert list(caught.value.reasons) == [name]
    assert caught.value.reasons[name] in str(caught.value)
    best = lorry.identify(path).candidates[0]
    assert (best.dialect, best.score) == (name, 0)


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_adapter_is_not_written(name: str, tmp_path: Path) -> None:
    adapter = lorry.open(write(tmp_path / "a.safetensors", made("peft", {"unet." + UNET_Q.name: UNET_Q}, scale=1)))
    with pytest.raises(InvalidArgument, match="is not written"):
        lorry.save(adapter, tmp_path / "b.safetensors", name)
    assert not (tmp_path / "b.safetensors").exists()
