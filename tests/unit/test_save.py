"""Saving: what was not changed is written as it was, what was is written right, and nothing is dropped in silence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lorry
from lorry.errors import Conflict, InvalidArgument, InvalidFile, NotRepresentable, UnknownName, Unmapped
from lorry.ir import Adapter, ModulePath
from lorry.ops.writing.style import Style, to_text
from tests.support.files import KOHYA, Tensors, kohya, peft, write

OTHER = KOHYA.replace("to_q", "to_k")
ORIGIN = json.loads(to_text(Style(dialect="kohya")))


def opened(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Adapter:
    return lorry.open(write(folder / "source.safetensors", tensors, metadata))


def error(first: Adapter, path: Path) -> float:
    return lorry.diff(first, lorry.open(path)).error


@pytest.mark.parametrize("scale", [0.0, -0.0])
@pytest.mark.parametrize("dialect", ["kohya", "diffusers"])
def test_a_layer_that_does_nothing_still_does_nothing_when_read_back(
    scale: float, dialect: str, tmp_path: Path
) -> None:
    adapter = opened(tmp_path, {**kohya(alpha=2.0), **kohya(OTHER, alpha=2.0)})
    layers = {path: (replace(layer, scale=scale),) for path, (layer,) in adapter.layers.items()}
    silent = Adapter(base=adapter.base, layers=layers)
    lorry.save(silent, tmp_path / "out.safetensors", dialect)
    back = lorry.open(tmp_path / "out.safetensors")
    assert len(back.layers) == 2
    assert all(each.second == 0 for each in lorry.diff(silent, back).layers)


@pytest.mark.parametrize("scale", [1 / 3, -0.7, 1e-7, 987.654321, 2.0**-30])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float32])
def test_an_alpha_is_stored_so_that_the_scale_reads_back(scale: float, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {key: ref.to(dtype) for key, ref in kohya(rank=3).items()}
    adapter = lorry.merge([(opened(tmp_path, tensors), scale)])
    lorry.save(adapter, tmp_path / "out.safetensors", "kohya")
    ((layer,),) = lorry.open(tmp_path / "out.safetensors").layers.values()
    assert layer.scale == pytest.approx(scale, rel=1e-15)
    assert load_file(tmp_path / "out.safetensors")[f"{KOHYA}.lora_up.weight"].dtype == dtype


def test_what_is_not_changed_is_written_with_its_own_bytes_beside_what_is(tmp_path: Path) -> None:
    tensors = {**kohya(alpha=1.0), **kohya(OTHER, seed=1, alpha=1.0)}
    adapter = opened(tmp_path, tensors, {"ss_network_dim": "2"})
    changed = {
        path: tuple(replace(layer, scale=7.0) for layer in layers) if path.name.endswith("to_q") else layers
        for path, layers in adapter.layers.items()
    }
    lorry.save(replace(adapter, layers=changed), tmp_path / "out.safetensors", "kohya")
    written = load_file(tmp_path / "out.safetensors")
    assert written.pop(f"{KOHYA}.alpha").item() == 14.0
    assert written.keys() == tensors.keys() - {f"{KOHYA}.alpha"}
    assert all(torch.equal(tensors[key], ref) for key, ref in written.items())
    assert lorry.open(tmp_path / "out.safetensors").metadata == {"ss_network_dim": "2"}


def test_a_changed_part_of_a_fused_module_rewrites_the_whole(tmp_path: Path) -> None:
    adapter = opened(tmp_path, kohya("lora_unet_double_blocks_0_img_attn_qkv", rows=12))
    path = ModulePath("transformer", "transformer_blocks.0.attn.to_k")
    layers = {**adapter.layers, path: (replace(adapter.layers[path][0], scale=5.0),)}
    changed = replace(adapter, layers=layers)
    lorry.save(changed, tmp_path / "out.safetensors", "kohya")
    assert error(changed, tmp_path / "out.safetensors") < 1e-6
    assert error(adapter, tmp_path / "out.safetensors") > 0.5


def test_a_removed_layer_is_gone(tmp_path: Path) -> None:
    adapter = opened(tmp_path, {**kohya(), **kohya(OTHER)})
    kept = {path: layers for path, layers in adapter.layers.items() if path.name.endswith("to_q")}
    lorry.save(replace(adapter, layers=kept), tmp_path / "out.safetensors", "kohya")
    assert set(load_file(tmp_path / "out.safetensors")) == set(kohya())


def test_keys_nobody_understands_stay_in_their_own_dialect(tmp_path: Path) -> None:
    adapter = opened(tmp_path, {**kohya(), "weird.key": torch.ones(3)})
    lorry.save(adapter, tmp_path / "out.safetensors", "kohya", metadata={"note": "mine"})
    assert torch.equal(load_file(tmp_path / "out.safetensors")["weird.key"], torch.ones(3))


def test_keys_nobody_understands_stop_a_conversion_or_are_told_as_lost(tmp_path: Path) -> None:
    adapter = opened(tmp_path, {**kohya(), "weird.key": torch.ones(3)})
    with pytest.raises(Unmapped, match=r"weird\.key"):
        lorry.save(adapter, tmp_path / "out.safetensors", "diffusers")
    assert not (tmp_path / "out.safetensors").exists()
    saved = lorry.save(adapter, tmp_path / "out.safetensors", "diffusers", lossy=True)
    assert set(saved.lost) == {"weird.key"}


def test_keys_nobody_understands_in_a_second_file_are_not_forgotten(tmp_path: Path) -> None:
    second = write(tmp_path / "token.safetensors", {"emb_params": torch.ones(1, 768), "step": torch.ones(1, 3)})
    adapter = lorry.open([write(tmp_path / "lora.safetensors", kohya()), second])
    with pytest.raises(Unmapped, match="step"):
        lorry.save(adapter, tmp_path / "out.safetensors", "kohya")
    saved = lorry.save(adapter, tmp_path / "out.safetensors", "kohya", lossy=True)
    assert (set(saved.lost), saved.tensors) == ({"step"}, 3)


def test_what_a_dialect_cannot_hold_is_named_and_left_out_only_if_asked(tmp_path: Path) -> None:
    tensors = {**peft(), **peft("text_encoder.text_model.encoder.layers.0.mlp.fc1")}
    adapter = opened(tmp_path, tensors)
    with pytest.raises(NotRepresentable, match="a peft folder holds one model") as caught:
        lorry.save(adapter, tmp_path / "out", "peft")
    assert not (tmp_path / "out").exists()
    saved = lorry.save(adapter, tmp_path / "out", "peft", lossy=True)
    assert saved.lost == caught.value.layers
    assert len(lorry.open(tmp_path / "out").layers) == 1


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_a_dtype_rounds_the_numbers_once_and_leaves_alpha(dtype: str, tmp_path: Path) -> None:
    adapter = opened(tmp_path, kohya(alpha=0.1))
    lorry.save(adapter, tmp_path / "out.safetensors", "kohya", dtype=dtype)
    written = load_file(tmp_path / "out.safetensors")
    wanted = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[dtype]
    source = load_file(tmp_path / "source.safetensors")
    assert written[f"{KOHYA}.alpha"].item() == source[f"{KOHYA}.alpha"].item()
    for key in kohya():
        assert torch.equal(written[key], source[key].to(wanted))


def test_numbers_that_do_not_fit_a_dtype_are_not_turned_into_infinity(tmp_path: Path) -> None:
    adapter = opened(tmp_path, {key: ref * 1e6 for key, ref in kohya().items()})
    with pytest.raises(InvalidArgument, match="do not fit F16"):
        lorry.save(adapter, tmp_path / "out.safetensors", "kohya", dtype="F16")
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_a_format_may_name_its_container(tmp_path: Path) -> None:
    adapter = opened(tmp_path, peft())
    saved = lorry.save(adapter, tmp_path / "out", "diffusers+folder")
    assert saved.container == "folder"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pytorch_lora_weights.safetensors"]
    for wrong in ("diffuser", "diffusers+zip", "+safetensors", ""):
        with pytest.raises(UnknownName):
            lorry.save(adapter, tmp_path / "wrong", wrong)
    with pytest.raises(Conflict):
        lorry.save(adapter, tmp_path / "out", "diffusers+folder")


def test_a_copied_folder_brings_what_belongs_to_the_adapter_and_no_more(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(
        source / "adapter_model.safetensors", {f"base_model.model.{key}": ref for key, ref in peft("conv_in").items()}
    )
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 4, "r": 2}))
    (source / "README.md").write_text("# A cat")
    (source / "optimizer.pt").write_bytes(b"state")
    (tmp_path / "secret").write_text("secret")
    (source / "notes").symlink_to(tmp_path / "secret")
    lorry.save(lorry.open(source), tmp_path / "out", "peft")
    wanted = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == wanted
    assert all((tmp_path / "out" / name).read_bytes() == (source / name).read_bytes() for name in wanted)


def test_an_origin_is_followed(tmp_path: Path) -> None:
    told = json.dumps({**ORIGIN, "alpha": {"2.0": "F64"}, "alpha_shape": [1]})
    lorry.save(opened(tmp_path, peft(), {"lorry.origin": told}), tmp_path / "out.safetensors", "kohya")
    alpha = load_file(tmp_path / "out.safetensors")[f"{KOHYA}.alpha"]
    assert (alpha.dtype, alpha.shape) == (torch.float64, (1,))


HOSTILE = {
    "a shape that alpha has not": {"alpha": {"2.0": "F32"}, "alpha_shape": [1000]},
    "an infinite shape": {"alpha_shape": [float("inf")]},
    "a dtype there is none": {"alpha": {"2.0": "F1"}},
    "a prefix nobody reads": {"naming": {"unet": ["../../x", "diffusers"]}},
    "a scheme there is none": {"naming": {"unet": ["lora_unet", "nowhere"]}},
    "a header of its own": {"header": {"lora_adapter_metadata": "["}},
}


@pytest.mark.parametrize("lie", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_strangers_origin_cannot_make_a_file_that_does_not_read_back(lie: dict[str, object], tmp_path: Path) -> None:
    adapter = opened(tmp_path, peft(), {"lorry.origin": json.dumps({**ORIGIN, **lie})})
    lorry.save(adapter, tmp_path / "out.safetensors", "kohya")
    assert error(adapter, tmp_path / "out.safetensors") < 1e-6


def test_a_strangers_origin_cannot_add_files(tmp_path: Path) -> None:
    config = json.dumps({"peft_type": "LORA", "lora_alpha": 2, "r": 2})
    sides = {"adapter_config.json": config, "evil.py": "boo", "../evil.py": "boo"}
    told = json.dumps({**ORIGIN, "dialect": "peft", "sides": sides})
    lorry.save(opened(tmp_path, peft(), {"lorry.origin": told}), tmp_path / "out", "peft")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip


def test_a_file_that_changed_since_it_was_opened_is_not_copied(tmp_path: Path) -> None:
    adapter = opened(tmp_path, kohya())
    path = adapter.origin[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, ns=(0, 0))
    with pytest.raises(InvalidFile, match="has changed since it was opened"):
        lorry.save(adapter, tmp_path / "out.safetensors", "kohya")
    assert not (tmp_path / "out.safetensors").exists()


def test_plain_values_of_a_pickle_are_told_as_left_out(tmp_path: Path) -> None:
    torch.save({**kohya(), "step": 1000}, tmp_path / "a.pt")
    adapter = lorry.open(tmp_path / "a.pt")
    for format in ("kohya", "diffusers"):
        saved = lorry.save(adapter, tmp_path / f"{format}.safetensors", format)
        assert set(saved.lost) == {"step"}
        assert "1000" in saved.lost["step"]


@pytest.mark.parametrize(("name", "told"), [("dog", "'cat' is 'dog' from now on"), ("cat", "")])
@pytest.mark.parametrize("keys", [{"emb_params": (2, 768)}, {"clip_l": (2, 768), "clip_g": (2, 1280)}])
def test_a_token_that_goes_by_the_name_of_its_file_is_told_when_it_gets_another(
    keys: dict[str, tuple[int, ...]], name: str, told: str, tmp_path: Path
) -> None:
    adapter = lorry.open(write(tmp_path / "cat.safetensors", {key: torch.randn(shape) for key, shape in keys.items()}))
    (tmp_path / "new").mkdir()
    saved = lorry.save(adapter, tmp_path / "new" / f"{name}.safetensors", adapter.origin[0].dialect)
    assert told in saved.renamed
    assert bool(told) is bool(saved.renamed)
    assert list(lorry.open(saved.path).tokens) == [name]


def test_a_token_whose_text_is_in_the_file_is_not_renamed(tmp_path: Path) -> None:
    adapter = lorry.open(write(tmp_path / "a.safetensors", {"<cat>": torch.randn(1, 768)}))
    assert not lorry.save(adapter, tmp_path / "b.safetensors", "diffusers-embedding").renamed
