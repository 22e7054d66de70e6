"""Whole checkpoints, there and back: each layout holds the folder's bytes, under names that the field's code reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import pytest
import torch
from click.testing import CliRunner
from diffusers.loaders import single_file_utils as untyped_utils
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, Incompatible, InvalidArgument, InvalidFile, NotRepresentable, UnknownName
from tests.support.checkpoints import COMPONENTS, save, weights
from tests.support.files import kohya, write

diffusers: Any = untyped_diffusers
utils: Any = untyped_utils

Tensors = dict[str, torch.Tensor]

LAYOUTS = {
    "sd1": ("ldm",), "sd2": ("ldm",), "sdxl": ("sgm",), "sdxl-refiner": ("sgm",), "flux1": ("comfy", "bfl"),
    "flux2": ("comfy", "bfl"),
}  # fmt: skip
BOTH_WAYS = [(base, layout) for base, layouts in LAYOUTS.items() for layout in layouts]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a base, made once."""
    root = tmp_path_factory.mktemp("bases")
    made = {base: save(base, root / base) for base in COMPONENTS}
    return made.__getitem__


def same(one: lorry.Base, other: lorry.Base) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        ref.same(other.tensors[name]) for name, ref in one.tensors.items()
    )


@pytest.mark.parametrize(("base", "layout"), BOTH_WAYS)
def test_a_folder_and_a_single_file_hold_the_same_bytes(
    folder: Callable[[str], Path], tmp_path: Path, base: str, layout: str
) -> None:
    first = lorry.open_base(folder(base))
    assert (first.id, first.layout, dict(first.unmapped)) == (base, "diffusers", {})
    file = tmp_path / "one.safetensors"
    done = lorry.convert_base(first, file, layout, lossy=True)
    single = lorry.open_base(file)
    assert (single.id, single.layout, dict(single.unmapped)) == (base, layout, {})
    assert set(done.lost) == set(first.components - single.components)
    lorry.convert_base(single, tmp_path / "folder", "diffusers", verify=True)
    again = lorry.open_base(tmp_path / "folder")
    assert same(single, again)
    for name, ref in again.tensors.items():
        assert ref.same(first.tensors[name]), name
    kept = {name for name in first.tensors if name.partition(".")[0] not in done.lost}
    assert set(again.tensors) == kept


def test_a_single_file_comes_back_byte_for_byte(folder: Callable[[str], Path], tmp_path: Path) -> None:
    lorry.convert_base(lorry.open_base(folder("sdxl")), tmp_path / "a.safetensors", "sgm")
    lorry.convert_base(lorry.open_base(tmp_path / "a.safetensors"), tmp_path / "folder", "diffusers")
    lorry.convert_base(lorry.open_base(tmp_path / "folder"), tmp_path / "b.safetensors", "sgm")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("size", ["2KB", "5GiB"])
def test_shards_hold_what_a_single_file_holds_and_give_it_back(
    folder: Callable[[str], Path], tmp_path: Path, size: str
) -> None:
    lorry.convert_base(lorry.open_base(folder("sdxl")), tmp_path / "a.safetensors", "sgm")
    new = tmp_path / "new"
    argv = [str(tmp_path / "a.safetensors"), "--to", "diffusers", "-o", str(new), "--like", str(folder("sdxl"))]
    result = CliRunner().invoke(cli, ["convert-base", *argv, "--shard-size", size, "--verify"])
    assert result.exit_code == 0, result.output
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        files = sorted((new / part).glob("*.safetensors"))
        total = sum(tensor.nbytes for file in files for tensor in load_file(file).values())
        if size == "5GiB":
            assert [file.name for file in files] == [f"{name}.safetensors"]
            assert not list((new / part).glob("*.index.json"))
            continue
        assert [file.name for file in files] == [
            f"{name}-{at:05}-of-{len(files):05}.safetensors" for at in range(1, len(files) + 1)
        ]
        held = {file.name: load_file(file) for file in files}
        index = json.loads((new / part / f"{name}.safetensors.index.json").read_text())
        assert index["weight_map"] == {key: file for file, tensors in held.items() for key in tensors}
        assert index["metadata"] == {"total_size": total}
        assert len(files) > 1
        assert all(len(each) == 1 or sum(tensor.nbytes for tensor in each.values()) <= 2000 for each in held.values())
    agree(
        dict(diffusers.UNet2DConditionModel.from_pretrained(new / "unet").state_dict()),
        component(folder("sdxl"), "unet")[0],
    )
    agree(
        dict(CLIPTextModel.from_pretrained(new / "text_encoder").state_dict()),
        component(folder("sdxl"), "text_encoder")[0],
    )
    lorry.convert_base(lorry.open_base(new), tmp_path / "b.safetensors", "sgm")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_toybox_goes_through_shards_and_back(tmp_path: Path) -> None:
    def convert(base: str | Path, layout: str, output: str, *options: str) -> Path:
        argv = ["convert-base", str(base), "--to", layout, "-o", str(tmp_path / output), *options]
        result = CliRunner().invoke(cli, argv)
        assert result.exit_code == 0, result.output
        return tmp_path / output

    one = convert("toybox-flux", "comfy", "one.safetensors", "--lossy")
    sharded = convert(one, "diffusers", "folder", "--shard-size", "200KB", "--verify")
    assert len(list((sharded / "transformer").glob("*-of-*.safetensors"))) > 1
    assert convert(sharded, "comfy", "again.safetensors").read_bytes() == one.read_bytes()


@pytest.mark.parametrize(
    ("layout", "size"), [("ldm", "5GB"), ("diffusers", "0"), ("diffusers", "0.1B"), ("diffusers", "much")]
)
def test_a_size_of_shards_that_makes_no_sense_is_refused(
    folder: Callable[[str], Path], tmp_path: Path, layout: str, size: str
) -> None:
    with pytest.raises(InvalidArgument):
        lorry.convert_base(lorry.open_base(folder("sd1")), tmp_path / "one.safetensors", layout, shard_size=size)
    assert list(tmp_path.iterdir()) == []


def single(folder: Path, tmp_path: Path, layout: str) -> Tensors:
    lorry.convert_base(lorry.open_base(folder), tmp_path / "one.safetensors", layout, lossy=True)
    return load_file(tmp_path / "one.safetensors")


def component(folder: Path, name: str) -> tuple[Tensors, Any]:
    """Return the tensors of a component without its name, and its configuration."""
    tensors = {
        key.removeprefix(f"{name}."): each for key, each in weights(folder).items() if key.startswith(f"{name}.")
    }
    return tensors, json.loads((folder / name / "config.json").read_text())


def agree(found: Tensors, wanted: Tensors) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
@pytest.mark.parametrize("part", ["unet", "vae"])
def test_diffusers_own_converters_read_what_is_written(
    folder: Callable[[str], Path], tmp_path: Path, base: str, part: str
) -> None:
    wanted, config = component(folder(base), part)
    convert = {"unet": utils.convert_ldm_unet_checkpoint, "vae": utils.convert_ldm_vae_checkpoint}[part]
    agree(convert(single(folder(base), tmp_path, LAYOUTS[base][0]), config), wanted)


@pytest.mark.parametrize(
    ("base", "part", "prefix"),
    [
        ("sd2", "text_encoder", "cond_stage_model.model."),
        ("sdxl", "text_encoder_2", "conditioner.embedders.1.model."),
        ("sdxl-refiner", "text_encoder_2", "conditioner.embedders.0.model."),
    ],
)
def test_diffusers_own_converter_reads_the_openclip_encoder(
    folder: Callable[[str], Path], tmp_path: Path, base: str, part: str, prefix: str
) -> None:
    wanted, config = component(folder(base), part)
    kind = CLIPTextModel if part == "text_encoder" else CLIPTextModelWithProjection
    checkpoint = single(folder(base), tmp_path, LAYOUTS[base][0])
    # For want of a text projection diffusers cuts the fused rows by the width of SD2; ours is a toy's.
    checkpoint.setdefault(f"{prefix}text_projection", torch.zeros(8, 8))
    found = utils.convert_open_clip_checkpoint(kind(CLIPTextConfig(**config)), checkpoint, prefix)
    known = {key.removeprefix("text_model."): each for key, each in found.items()}
    agree(
        {key: each for key, each in known.items() if key != "text_projection.weight" or key in wanted},
        {key.removeprefix("text_model."): each for key, each in wanted.items()},
    )


def test_diffusers_own_converter_reads_flux2(folder: Callable[[str], Path], tmp_path: Path) -> None:
    wanted, _ = component(folder("flux2"), "transformer")
    agree(utils.convert_flux2_transformer_checkpoint_to_diffusers(single(folder("flux2"), tmp_path, "bfl")), wanted)


def test_flux1_is_fused_as_bfl_has_it(folder: Callable[[str], Path], tmp_path: Path) -> None:
    ours, _ = component(folder("flux1"), "transformer")
    theirs = single(folder("flux1"), tmp_path, "bfl")
    block = "transformer_blocks.1.attn"
    fused = [ours[f"{block}.{each}.bias"] for each in ("add_q_proj", "add_k_proj", "add_v_proj")]
    assert torch.equal(theirs["double_blocks.1.txt_attn.qkv.bias"], torch.cat(fused))
    block = "single_transformer_blocks.0"
    parts = [ours[f"{block}.{each}.weight"] for each in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    assert torch.equal(theirs["single_blocks.0.linear1.weight"], torch.cat(parts))
    scale, shift = ours["norm_out.linear.weight"].chunk(2)
    assert torch.equal(theirs["final_layer.adaLN_modulation.1.weight"], torch.cat([shift, scale]))
    assert torch.equal(
        theirs["double_blocks.0.img_attn.norm.key_norm.scale"], ours["transformer_blocks.0.attn.norm_k.weight"]
    )


def test_a_folder_made_like_another_loads_in_diffusers(folder: Callable[[str], Path], tmp_path: Path) -> None:
    lorry.convert_base(lorry.open_base(folder("sd1")), tmp_path / "one.safetensors", "ldm")
    lorry.convert_base(lorry.open_base(tmp_path / "one.safetensors"), tmp_path / "new", "diffusers", like=folder("sd1"))
    model = diffusers.AutoencoderKL.from_pretrained(tmp_path / "new" / "vae")
    agree(dict(model.state_dict()), component(folder("sd1"), "vae")[0])
    encoder = CLIPTextModel.from_pretrained(tmp_path / "new" / "text_encoder")
    agree(dict(encoder.state_dict()), component(folder("sd1"), "text_encoder")[0])


def test_configurations_come_from_a_base_by_name(tmp_path: Path) -> None:
    one, runner = str(tmp_path / "one.safetensors"), CliRunner()
    assert runner.invoke(cli, ["convert-base", "toybox-sd", "--to", "ldm", "-o", one, "--lossy"]).exit_code == 0
    for folder, options, told in (("whole", ["--like", "toybox-sd"], ""), ("weights", [], "weights alone")):
        done = runner.invoke(cli, ["convert-base", one, "--to", "diffusers", "-o", str(tmp_path / folder), *options])
        assert (done.exit_code, told in done.stderr, bool(done.stderr)) == (0, True, bool(told)), done.output
        assert (tmp_path / folder / "model_index.json").exists() is not bool(told)
    refused = runner.invoke(cli, ["convert-base", one, "--to", "diffusers", "-o", str(tmp_path / "x"), "--like", one])
    assert isinstance(refused.exception, InvalidArgument)
    assert "is a file" in str(refused.exception)


def test_a_component_by_itself_keeps_its_configuration(folder: Callable[[str], Path], tmp_path: Path) -> None:
    alone = folder("flux2") / "transformer"
    lorry.convert_base(lorry.open_base(alone), tmp_path / "new", "diffusers")
    assert sorted(each.name for each in tmp_path.glob("new/**/*") if each.is_file()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    assert (tmp_path / "new" / "transformer" / "config.json").read_bytes() == (alone / "config.json").read_bytes()


def test_what_a_layout_has_no_place_for_is_refused_and_nothing_written(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(NotRepresentable, match="--lossy") as refused:
        lorry.convert_base(lorry.open_base(folder("flux1")), tmp_path / "one.safetensors", "bfl")
    assert set(refused.value.layers) == {"text_encoder", "text_encoder_2", "vae"}
    assert list(tmp_path.iterdir()) == []


def test_names_that_count_blocks_are_not_given_to_another_number_of_them(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    tensors, _ = component(folder("sd1"), "vae")
    shallow = {
        key: each for key, each in tensors.items() if ".down_blocks.3." not in key and ".up_blocks.3." not in key
    }
    for name in ("unet", "text_encoder"):
        (tmp_path / "base" / name).mkdir(parents=True)
        save_file(component(folder("sd1"), name)[0], tmp_path / "base" / name / "model.safetensors")
    (tmp_path / "base" / "vae").mkdir()
    save_file(shallow, tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(NotRepresentable, match=r"vae has no encoder\.down_blocks\.3"):
        lorry.convert_base(lorry.open_base(tmp_path / "base"), tmp_path / "one.safetensors", "ldm")


def test_keys_of_no_component_are_told_and_constants_are_no_loss(folder: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = single(folder("sd1"), tmp_path, "ldm")
    tensors |= {"alphas_cumprod": torch.ones(3), "model_ema.diffusion_modelout2bias": torch.ones(4)}
    base = lorry.open_base(write(tmp_path / "full.safetensors", tensors))
    assert set(base.unmapped) == {"alphas_cumprod", "model_ema.diffusion_modelout2bias"}
    with pytest.raises(NotRepresentable, match="model_ema"):
        lorry.convert_base(base, tmp_path / "folder", "diffusers")
    done = lorry.convert_base(base, tmp_path / "folder", "diffusers", lossy=True)
    assert (set(done.lost), done.unused) == ({"model_ema.diffusion_modelout2bias"}, ("alphas_cumprod",))


def test_a_header_goes_along_there_and_back(folder: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = single(folder("flux2"), tmp_path, "bfl")
    first = write(tmp_path / "first.safetensors", tensors, {"modelspec.title": "mine", "format": "pt"})
    lorry.convert_base(lorry.open_base(first), tmp_path / "folder", "diffusers")
    lorry.convert_base(lorry.open_base(tmp_path / "folder"), tmp_path / "comfy.safetensors", "comfy")
    lorry.convert_base(lorry.open_base(tmp_path / "comfy.safetensors"), tmp_path / "last.safetensors", "bfl")
    with safe_open(first, "pt") as one, safe_open(tmp_path / "last.safetensors", "pt") as other:
        assert one.metadata() == other.metadata()
    agree(load_file(tmp_path / "last.safetensors"), load_file(first))


@pytest.mark.parametrize(
    ("layout", "output", "error"),
    [
        ("sgm", "one.safetensors", UnknownName),
        ("ldm", "one.ckpt", InvalidArgument),
        ("diffusers", "one.safetensors", InvalidArgument),
        ("ldm", "there.safetensors", Conflict),
    ],
)
def test_what_makes_no_sense_is_refused(
    folder: Callable[[str], Path], tmp_path: Path, layout: str, output: str, error: type[Exception]
) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    with pytest.raises(error):
        lorry.convert_base(lorry.open_base(folder("sd1")), tmp_path / output, layout)
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_baking_keeps_the_layout_of_a_single_file(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """A fused module is changed in the rows of its part alone, and what nobody names is still there."""
    tensors = single(folder("flux2"), tmp_path, "bfl") | {"notes": torch.ones(2)}
    source = write(tmp_path / "base.safetensors", tensors, {"modelspec.title": "mine"})
    adapter = write(tmp_path / "a.safetensors", kohya("lora_unet_transformer_blocks_0_attn_to_k", rows=32, width=32))
    result = CliRunner().invoke(cli, ["bake", str(source), str(adapter), "-o", str(tmp_path / "new.safetensors")])
    assert result.exit_code == 0, result.output
    new = load_file(tmp_path / "new.safetensors")
    assert new.keys() == tensors.keys()
    changed = {key for key in new if not torch.equal(new[key], tensors[key])}
    assert changed == {"double_blocks.0.img_attn.qkv.weight"}
    before, after = (each["double_blocks.0.img_attn.qkv.weight"].chunk(3) for each in (tensors, new))
    delta = kohya("x", rows=32, width=32)
    wanted = before[1] + delta["x.lora_up.weight"] @ delta["x.lora_down.weight"]
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])
    assert torch.allclose(after[1], wanted, atol=1e-5)


def test_quantised_weights_are_recognised_and_no_number_is_added(folder: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = single(folder("flux2"), tmp_path, "bfl")
    tensors |= {"scaled_fp8": torch.ones(2), "double_blocks.0.img_attn.qkv.scale_weight": torch.ones(())}
    base = lorry.open_base(write(tmp_path / "fp8.safetensors", tensors))
    assert "fp8 weights" in base.quantised
    adapter = lorry.open(write(tmp_path / "a.safetensors", kohya("lora_unet_img_in", rows=32, width=16)), base=base)
    with pytest.raises(Incompatible, match="fp8 weights with scales"):
        lorry.bake(base, [adapter])
    with pytest.raises(Incompatible, match="fp8 weights with scales"):
        lorry.convert_base(base, tmp_path / "folder", "diffusers")


def test_the_command_says_what_it_did(folder: Callable[[str], Path], tmp_path: Path) -> None:
    argv = ["convert-base", str(folder("sd1")), "--to", "ldm", "-o", str(tmp_path / "one.safetensors"), "--verify"]
    result = CliRunner().invoke(cli, argv)
    assert result.exit_code == 0, result.output
    assert "Stable Diffusion 1, diffusers to ldm" in result.output
    assert "every tensor has the bytes it had" in result.output
    result = CliRunner().invoke(cli, [*argv, "--json", "--force"])
    assert json.loads(result.output)["tensors_written"] == len(load_file(tmp_path / "one.safetensors"))


def test_a_base_is_inspected_as_an_adapter_is(folder: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = single(folder("flux2"), tmp_path, "bfl") | {"notes": torch.ones(2)}
    file = write(tmp_path / "base.safetensors", tensors)
    for path, layout, unknown in ((file, "bfl", 1), (folder("flux2"), "diffusers", 0)):
        told = json.loads(CliRunner().invoke(cli, ["inspect", "--json", str(path)]).output)
        assert told["base"] == "FLUX.2 (flux2@1)"
        assert told["format"] == f"base model, {layout}"
        assert told["not understood"] == unknown
    assert CliRunner().invoke(cli, ["inspect", str(tmp_path / "none")]).exit_code != 0


@pytest.mark.parametrize(("stored", "told"), [("v_prediction", "v"), ("epsilon", "epsilon"), (None, "")])
def test_what_a_base_predicts_stands_in_its_scheduler_or_header(
    folder: Callable[[str], Path], tmp_path: Path, stored: str | None, told: str
) -> None:
    base = shutil.copytree(folder("sd2"), tmp_path / "base")
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": stored}))
    header = {} if stored is None else {"modelspec.prediction_type": stored}
    file = write(tmp_path / "one.safetensors", single(folder("sd2"), tmp_path, "ldm"), header)
    for path in (base, base / "unet", file):
        about = json.loads(CliRunner().invoke(cli, ["inspect", "--json", str(path)]).output)
        assert (about["prediction"], about["variant"]) == (told, "base")


def test_damage_is_told_before_anything_is_written(folder: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = single(folder("flux2"), tmp_path, "bfl")
    tensors["double_blocks.0.img_attn.qkv.weight"] = torch.zeros(95, 32)
    with pytest.raises(InvalidFile, match="does not divide"):
        lorry.open_base(write(tmp_path / "cut.safetensors", tensors))
