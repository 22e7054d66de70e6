"""Linking versions into the folders of other tools, and taking them back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import lorry
from lorry.cli import cli
from lorry.errors import (
    Conflict,
    Incompatible,
    InvalidArgument,
    InvalidFile,
    LorryError,
    LorryWarning,
    NotFound,
    VerificationFailed,
)
from lorry_registry import Card, Registry
from lorry_registry.linking.note import NOTE

from .helpers import WIDTH, write_lora


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "models" / "loras").mkdir(parents=True)
    return folder


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    (tmp_path / "webui").mkdir()
    return tmp_path / "webui"


def files(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()} - {NOTE}


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    if isinstance(result.exception, LorryError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_version_is_put_where_the_tool_looks_and_taken_back(published: Registry, comfy: Path) -> None:
    told = run("link", "demo/cat", "--comfyui", comfy)
    (one,) = told["files"]
    assert one["path"] == "models/loras/cat.safetensors"
    assert one["how"] in ("clone", "hard link", "copy")
    assert (comfy / one["path"]).read_bytes() == published.store.blobs.path(one["sha256"]).read_bytes()
    assert run("link", "demo/cat", "--comfyui", comfy)["files"][0]["new"] is False
    assert run("unlink", "demo/cat", "--comfyui", comfy)["files"][0]["path"] == one["path"]
    assert not list(comfy.rglob("*.*"))
    assert published.verify("demo/cat")


def test_writing_to_a_link_does_not_reach_the_registry(published: Registry, comfy: Path) -> None:
    (one,) = published.link(["demo/cat"], "comfyui", comfy)
    target = comfy / one.path
    if one.how == "hard link":
        assert not target.stat().st_mode & 0o222
        target.unlink()
    target.write_bytes(b"mine")
    assert published.verify("demo/cat")


def test_a_copy_takes_the_place_of_a_hard_link_and_may_be_written_to(published: Registry, comfy: Path) -> None:
    run("link", "demo/cat", "--comfyui", comfy)
    (one,) = run("link", "demo/cat", "--comfyui", comfy, "--copy")["files"]
    target = comfy / one["path"]
    assert one["how"] in ("clone", "copy")
    assert run("link", "demo/cat", "--comfyui", comfy)["files"] == [one | {"new": False}]
    with target.open("r+b") as file:
        file.write(b"mine")
    assert published.verify("demo/cat")


def test_what_was_written_through_a_hard_link_is_told_and_mended(
    published: Registry, lora: Path, comfy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorry_registry.linking.materialise._clone", lambda *_: False)  # a disk that shares no blocks
    (one,) = published.link(["demo/cat"], "comfyui", comfy)
    target = comfy / one.path
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.write(b"mine")
    for use in (lambda: lorry.open("demo/cat"), lambda: published.link(["demo/cat"], "comfyui", comfy)):
        with pytest.raises(VerificationFailed, match=r"demo/cat@1\.0\.0: .* is damaged: .* lorry fsck --repair"):
            use()
    with pytest.raises(Conflict, match=r"hard link: .* lorry verify demo/cat@1\.0\.0 .* move it away"):
        run("unlink", "--all", "--comfyui", comfy)
    assert len(published.repair(published.fsck(), [lora])) == 1
    assert lorry.open("demo/cat").layers
    target.rename(comfy / "mine.safetensors")
    run("unlink", "--all", "--comfyui", comfy)
    assert files(comfy) == {"mine.safetensors"}


def test_trigger_words_and_tokens_come_along(registry: Registry, lora: Path, webui: Path, tmp_path: Path) -> None:
    registry.publish("demo/cat@1.0.0", [lora], card=Card(trigger_words=("sks cat", "fur")))
    save_file({"emb_params": torch.ones(2, 768)}, tmp_path / "sks.safetensors")
    registry.publish("demo/word@1.0.0", [tmp_path / "sks.safetensors"])
    registry.link(["demo/cat", "demo/word"], "a1111", webui)
    assert files(webui) == {"models/Lora/cat.safetensors", "models/Lora/cat.json", "embeddings/sks.safetensors"}
    assert json.loads((webui / "models/Lora/cat.json").read_text())["activation text"] == "sks cat, fur"


def test_what_the_tool_does_not_load_is_converted(registry: Registry, webui: Path, tmp_path: Path) -> None:
    stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{stem}.lora_A.weight": torch.rand(2, WIDTH), f"{stem}.lora_B.weight": torch.rand(WIDTH, 2)}
    save_file(tensors, tmp_path / "d.safetensors")
    registry.publish("demo/ink@1.0.0", [tmp_path / "d.safetensors"])
    (one,) = registry.link(["demo/ink"], "a1111", webui)
    assert (one.path, one.how) == ("models/Lora/ink.safetensors", "converted to kohya")
    assert lorry.diff(lorry.open("demo/ink"), lorry.open(webui / one.path)).error < 1e-6
    (again,) = registry.link(["demo/ink"], "a1111", webui)
    assert not again.new


@pytest.mark.parametrize("converted", [False, True])
def test_a_token_beside_layers_is_put_where_the_tool_finds_tokens(
    registry: Registry, lora: Path, webui: Path, tmp_path: Path, *, converted: bool
) -> None:
    if converted:
        lora = tmp_path / "d.safetensors"
        stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
        save_file({f"{stem}.lora_A.weight": torch.rand(2, 320), f"{stem}.lora_B.weight": torch.rand(320, 2)}, lora)
    save_file({"<sks>": torch.ones(2, 768)}, tmp_path / "sks.safetensors")
    registry.publish("demo/cat@1.0.0", [lora, tmp_path / "sks.safetensors"], card=Card(trigger_words=("fur",)))
    put = {each.path: each.how for each in registry.link(["demo/cat"], "a1111", webui)}
    assert put.keys() == {"models/Lora/cat.safetensors", "models/Lora/cat.json", "embeddings/sks.safetensors"}
    assert (put["models/Lora/cat.safetensors"] == "converted to kohya") is converted
    assert (webui / "embeddings/sks.safetensors").read_bytes() == (tmp_path / "sks.safetensors").read_bytes()
    assert not lorry.open(webui / "models/Lora/cat.safetensors").tokens


def test_a_token_that_the_tool_does_not_read_inside_a_file_with_layers_is_told(
    registry: Registry, lora: Path, comfy: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both.safetensors"
    save_file({**load_file(lora), "bundle_emb.sks.clip_l": torch.ones(2, 768)}, both)
    registry.publish("demo/cat@1.0.0", [both])
    with pytest.warns(LorryWarning, match="but not the learned tokens: they belong into"):
        registry.link(["demo/cat"], "comfyui", comfy)


def test_what_no_conversion_brings_in_is_refused(registry: Registry, webui: Path, tmp_path: Path) -> None:
    name = "transformer.single_transformer_blocks.0.attn.to_q"
    tensors = {f"{name}.lora_A.weight": torch.rand(2, 3072), f"{name}.lora_B.weight": torch.rand(3072, 2)}
    save_file(tensors, tmp_path / "f.safetensors")
    registry.publish("demo/flux@1.0.0", [tmp_path / "f.safetensors"])
    with pytest.raises(Incompatible, match="has no FLUX"):
        registry.link(["demo/flux"], "a1111", webui)
    assert not list(webui.iterdir())


def test_a_file_that_is_not_ours_is_never_replaced_or_removed(published: Registry, comfy: Path, lora: Path) -> None:
    target = comfy / "models/loras/cat.safetensors"
    target.write_bytes(b"somebody's")
    with pytest.raises(Conflict, match="did not put it there"):
        published.link(["demo/cat"], "comfyui", comfy)
    assert target.read_bytes() == b"somebody's"
    target.write_bytes(lora.read_bytes())  # the same bytes, and still not ours
    (one,) = published.link(["demo/cat"], "comfyui", comfy)
    assert one.how == "was there"
    with pytest.raises(NotFound):
        published.unlink(["demo/cat"], comfy)
    assert published.unlink([], comfy) == ()
    assert target.exists()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_link_in_the_way_is_not_followed(published: Registry, comfy: Path, tmp_path: Path) -> None:
    (comfy / "models/loras/cat.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        published.link(["demo/cat"], "comfyui", comfy)
    assert not (tmp_path / "elsewhere").exists()


def test_another_version_takes_the_place_of_the_one_before(published: Registry, comfy: Path, tmp_path: Path) -> None:
    published.link(["demo/cat"], "comfyui", comfy)
    published.publish("demo/cat@2.0.0", [write_lora(tmp_path / "two.safetensors", 7)])
    (one,) = published.link(["demo/cat"], "comfyui", comfy)
    assert (one.reference, one.new) == ("demo/cat@2.0.0", True)
    assert files(comfy) == {"models/loras/cat.safetensors"}
    with pytest.raises(NotFound, match="demo/cat@2.0.0"):
        published.unlink(["demo/cat@1.0.0"], comfy)


def test_a_file_that_a_person_changed_is_left(published: Registry, comfy: Path) -> None:
    (one,) = published.link(["demo/cat"], "comfyui", comfy)
    (comfy / one.path).unlink()
    (comfy / one.path).write_bytes(b"changed")
    with pytest.raises(Conflict, match="was changed"):
        published.unlink(["demo/cat"], comfy)
    assert (comfy / one.path).read_bytes() == b"changed"


def test_a_side_file_that_a_person_changed_stays(registry: Registry, lora: Path, webui: Path) -> None:
    registry.publish("demo/cat@1.0.0", [lora], card=Card(trigger_words=("sks cat",)))
    registry.link(["demo/cat"], "a1111", webui)
    side = webui / "models/Lora/cat.json"
    side.write_text('{"notes": "mine"}')
    registry.link(["demo/cat"], "a1111", webui)
    registry.unlink([], webui)
    assert files(webui) == {"models/Lora/cat.json"}
    assert side.read_text() == '{"notes": "mine"}'


def test_two_adapters_of_one_name_are_told_before_anything_is_there(
    published: Registry, comfy: Path, tmp_path: Path
) -> None:
    published.publish("other/cat@1.0.0", [write_lora(tmp_path / "b.safetensors", 3)])
    with pytest.raises(Conflict, match="would both be"):
        published.link(["demo/cat", "other/cat"], "comfyui", comfy)
    assert not files(comfy)


def test_a_dry_run_changes_nothing(published: Registry, comfy: Path) -> None:
    assert run("link", "demo/cat", "--comfyui", comfy, "--dry-run")["files"][0]["new"] is True
    assert not files(comfy)
    published.link(["demo/cat"], "comfyui", comfy)
    assert run("unlink", "--all", "--comfyui", comfy, "--dry-run")["files"]
    assert files(comfy)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["link", "demo/cat"], InvalidArgument),
        (["link", "demo/cat", "--comfyui", "a", "--a1111", "b"], InvalidArgument),
        (["link", "demo/cat", "--comfyui", "missing"], NotFound),
        (["link", "demo/dog", "--comfyui", "."], NotFound),
        (["unlink", "--comfyui", "."], InvalidArgument),
    ],
)
@pytest.mark.usefixtures("published")
def test_bad_input(arguments: list[str], error: type[LorryError]) -> None:
    with pytest.raises(error):
        run(*arguments)


@pytest.mark.parametrize(
    "note", ["", "[]", '{"links": [{"path": "../../x", "sha256": "", "reference": "", "how": ""}]}']
)
def test_a_hostile_note_leads_nowhere(published: Registry, comfy: Path, note: str) -> None:
    (comfy.parents[0] / "x").write_text("keep")
    (comfy / NOTE).write_text(note)
    with pytest.raises(InvalidFile, match="is damaged"):
        published.link(["demo/cat"], "comfyui", comfy)
    with pytest.raises(InvalidFile, match="is damaged"):
        published.unlink([], comfy)
    assert not files(comfy)


def test_taking_back_from_a_folder_that_is_not_there_is_an_error(published: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nope is no folder"):
        published.unlink([], tmp_path / "nope")
