"""An adapter of several files: opened from a list, a folder, a text with +, or one file that names its companions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, InvalidFile
from lorry_plugins.formats.cloneofsimo import order

ATTENTION = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
UNET = order.unet(order.Targets(attention=True, geglu=True, resnets=False), new=True)


def _lora(component: str = ATTENTION, width: int = 320) -> dict[str, torch.Tensor]:
    return {f"{component}.lora_A.weight": torch.randn(2, width), f"{component}.lora_B.weight": torch.randn(width, 2)}


@pytest.fixture
def pivotal(tmp_path: Path) -> tuple[Path, Path]:
    """Give the two files that diffusers' advanced DreamBooth scripts write for SDXL."""
    lora, tokens = tmp_path / "pytorch_lora_weights.safetensors", tmp_path / "fox_emb.safetensors"
    save_file(_lora(), lora)
    save_file({"clip_l": torch.randn(2, 768), "clip_g": torch.randn(2, 1280)}, tokens)
    return lora, tokens


def test_one_file_names_its_companions_and_all_of_them_leave_none(pivotal: tuple[Path, Path]) -> None:
    for one, other in (pivotal, pivotal[::-1]):
        assert lorry.open(one).report.companions == (str(other),)
    whole = lorry.open(list(pivotal))
    assert whole.report.companions == ()
    assert (whole.base, list(whole.tokens), len(whole.layers)) == ("sdxl", ["<s0>", "<s1>"], 1)


def test_a_folder_and_a_text_with_plus_are_the_list(pivotal: tuple[Path, Path]) -> None:
    whole = lorry.open(list(pivotal))
    for path in (pivotal[0].parent, f"{pivotal[0]}+{pivotal[1]}"):
        opened = lorry.open(path)
        assert (opened.base, opened.layers.keys()) == (whole.base, whole.layers.keys())
        assert opened.tokens.keys() == whole.tokens.keys()


def test_a_folder_with_something_else_in_it_is_not_taken_together(pivotal: tuple[Path, Path]) -> None:
    save_file(_lora(), pivotal[0].parent / "another.safetensors")
    with pytest.raises(InvalidFile, match="several weights files"):
        lorry.open(pivotal[0].parent)


def test_a_file_that_is_a_link_out_of_the_folder_is_refused(pivotal: tuple[Path, Path]) -> None:
    folder = pivotal[0].parent / "folder"
    folder.mkdir()
    (folder / pivotal[0].name).symlink_to(pivotal[0])
    pivotal[1].rename(folder / pivotal[1].name)
    with pytest.raises(InvalidFile, match="outside its folder"):
        lorry.open(folder)


def test_a_folder_that_is_a_link_out_of_the_folder_above_is_refused(tmp_path: Path) -> None:
    whole, elsewhere = tmp_path / "whole", tmp_path / "elsewhere"
    for folder in (whole / "unet", elsewhere):
        folder.mkdir(parents=True)
        save_file(_lora(f"base_model.model.{ATTENTION.removeprefix('unet.')}"), folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    (whole / "text_encoder").symlink_to(elsewhere)
    with pytest.raises(InvalidFile, match="outside its folder"):
        lorry.open(whole)


@pytest.mark.parametrize("command", [["inspect"], ["convert", "--to", "kohya", "-o", "whole.safetensors"]])
def test_commands_take_several_files_as_one(
    command: list[str], pivotal: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pivotal[0].parent)
    done = CliRunner().invoke(cli, [command[0], f"{pivotal[0].name}+{pivotal[1].name}", *command[1:]])
    assert done.exit_code == 0, done.output
    alone = CliRunner().invoke(cli, ["inspect", pivotal[0].name])
    assert f"{pivotal[0].name}+{pivotal[1].name}" in alone.output


def test_two_adapters_are_not_taken_for_one_in_two_files(pivotal: tuple[Path, Path]) -> None:
    other = pivotal[0].with_name("other.safetensors")
    save_file(_lora(), other)
    out = pivotal[0].with_name("out.safetensors")
    with pytest.raises(Conflict, match="are two adapters: .*to_q.weight; lorry merge adds them") as found:
        lorry.open([pivotal[0], other])
    assert all(str(each) in str(found.value) for each in (pivotal[0], other))
    done = CliRunner().invoke(cli, ["convert", str(pivotal[0]), str(other), "--to", "kohya", "-o", str(out)])
    assert (type(done.exception), out.exists()) == (Conflict, False)
    save_file(_lora(ATTENTION.replace("to_q", "to_k")), other)
    assert len(lorry.open([pivotal[0], other]).layers) == 2


def test_the_three_files_of_a_cloneofsimo_training_belong_together(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.b.pt", "a.b.text_encoder.pt", "a.b.ti.pt")]
    wide = {name: torch.zeros(64, 8) if name.endswith("ff.net.0.proj") else torch.zeros(8, 8) for name in UNET}
    unet = [half for weight in wide.values() for half in (weight[:, :1], weight[:1])]
    clip = [half for _ in range(2 * 4) for half in (torch.zeros(32, 1), torch.zeros(1, 32))]
    for path, what in zip(files, (unet, clip, {"<s1>": torch.randn(32)}), strict=True):
        torch.save(what, path)
    for path in files:
        assert set(lorry.open(path).report.companions) == {str(each) for each in files if each != path}
    whole = lorry.open(files)
    assert (len(whole.layers), list(whole.tokens)) == (144 + 8, ["<s1>"])


def test_peft_folders_of_two_components_open_by_the_folder_above(tmp_path: Path) -> None:
    names = {"unet": ATTENTION.removeprefix("unet."), "text_encoder_2": "text_model.encoder.layers.0.mlp.fc1"}
    for component, name in names.items():
        folder = tmp_path / component
        folder.mkdir()
        save_file(_lora(f"base_model.model.{name}"), folder / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [name]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    assert lorry.open(tmp_path / "unet").report.companions == (str(tmp_path / "text_encoder_2"),)
    whole = lorry.open(tmp_path)
    assert {str(path): layer.scale for path, (layer,) in whole.layers.items()} == {
        f"{component}.{name}": 2.0 for component, name in names.items()
    }


def test_shards_are_one_source_whatever_lies_where(tmp_path: Path) -> None:
    tensors = _lora() | _lora(ATTENTION.replace("to_q", "to_k"))
    files = [tmp_path / f"x-0000{at}-of-00002.safetensors" for at in (1, 2)]
    keys = list(tensors)
    for path, held in zip(files, (keys[:3], keys[3:]), strict=True):
        save_file({key: tensors[key] for key in held}, path)
    assert lorry.open(files[0]).report.companions == (str(files[1]),)
    whole = lorry.open(files)
    assert (len(whole.layers), whole.report.unmapped) == (2, ())
    saved = lorry.save(whole, tmp_path / "one.safetensors", "diffusers")
    assert lorry.open(saved.path).layers.keys() == whole.layers.keys()
    save_file(tensors, files[1])
    with pytest.raises(InvalidFile, match="another shard"):
        lorry.open(files)
