"""The files of a version's commit: what is brought stands, what is lacking is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Layer, ModulePath, TensorRef
from lorry.ops.writing.convert import convert
from lorry.plugin.host import host
from lorry_registry import Card, Registry
from lorry_registry.remotes.hub.contents import DIFFUSERS, Wishes, base_repository, contents, left_behind
from tests.registry.helpers import write_lora

from .files import write_loha

Made = Callable[..., dict[str, bytes]]


@pytest.fixture
def made(registry: Registry, tmp_path: Path) -> Made:
    """Publish files as demo/cat@1.0.0, and return what would be committed of them."""

    def make(files: list[Path], wishes: Wishes | None = None, **card: object) -> dict[str, bytes]:
        registry.publish("demo/cat@1.0.0", files, card=Card(**card))  # type: ignore[arg-type]
        manifest = registry.manifest("demo/cat")
        blobs = {file.sha256: registry.store.blobs.path(file.sha256) for file in manifest.files}
        folder = tmp_path / "scratch"
        folder.mkdir()
        found = contents(
            manifest, manifest.to_bytes(), blobs, folder, repository="ann/cat-lora", wishes=wishes or Wishes()
        )
        return {path: each if isinstance(each, bytes) else each.read_bytes() for path, each in found.items()}

    return make


def front(files: dict[str, bytes]) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    return found


def test_the_weights_are_converted_for_diffusers(made: Made, lora: Path, registry: Registry, tmp_path: Path) -> None:
    files = made([lora])
    assert files.keys() == {"cat.safetensors", DIFFUSERS, "adapter.json", "README.md"}
    assert files["cat.safetensors"] == lora.read_bytes()
    assert files["adapter.json"] == registry.manifest("demo/cat").to_bytes()
    (tmp_path / DIFFUSERS).write_bytes(files[DIFFUSERS])
    assert lorry.diff(lorry.open(lora), lorry.open(tmp_path / DIFFUSERS)).error < 1e-6
    assert lorry.open(tmp_path / DIFFUSERS).origin[0].dialect == "diffusers"


def test_the_very_bytes_are_used_where_they_are_so_already(made: Made, lora: Path, tmp_path: Path) -> None:
    convert(lorry.open(lora), tmp_path / "own.safetensors", "diffusers")
    files = made([tmp_path / "own.safetensors"])
    assert files[DIFFUSERS] == files["own.safetensors"]


def test_what_the_version_brings_stands(made: Made, lora: Path) -> None:
    own = lora.rename(lora.with_name(DIFFUSERS))
    card, picture = lora.with_name("README.md"), lora.with_name("image_0.png")
    card.write_text("# My own words\n")
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    files = made([own, card, picture])
    assert files["README.md"] == b"# My own words\n"
    assert files[DIFFUSERS] == own.read_bytes()
    assert files.keys() == {DIFFUSERS, "README.md", "image_0.png", "adapter.json"}


def test_the_card_tells_base_words_pictures_and_the_file_to_load(made: Made, lora: Path) -> None:
    picture = lora.with_name("one two.png")
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    files = made([lora, picture], trigger_words=("sks cat",), title="A cat")
    told = front(files)
    assert told["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert told["widget"] == [{"text": "sks cat", "output": {"url": "one two.png"}}]
    text = files["README.md"].decode()
    assert f'"ann/cat-lora", weight_name="{DIFFUSERS}", revision="v1.0.0"' in text
    assert "ComfyUI/models/loras" in text


def test_formats_come_beside_where_they_are_asked_for(made: Made, lora: Path) -> None:
    files = made([lora], Wishes(also=("comfy", "peft"), base_model="my/base"))
    beside = {path for path in files if "/" in path}
    assert beside == {
        "comfy/cat.safetensors",
        "peft/cat/adapter_config.json",
        "peft/cat/adapter_model.safetensors",
    }
    assert front(files)["base_model"] == "my/base"


@pytest.mark.filterwarnings("ignore::lorry.errors.LorryWarning")
def test_a_format_that_was_asked_for_and_cannot_hold_it_is_an_error(made: Made, tmp_path: Path) -> None:
    with pytest.raises(NotRepresentable):
        made([write_loha(tmp_path / "cat.safetensors")], Wishes(also=("diffusers",)))


def test_the_recipe_stands_in_a_file_of_its_own(made: Made, lora: Path, tmp_path: Path) -> None:
    other = write_lora(tmp_path / "other.safetensors", seed=1)
    lorry.save(
        lorry.merge([(lorry.open(lora), 0.5), (lorry.open(other), 0.5)]),
        tmp_path / "both.safetensors",
        "kohya",
        metadata={"lorry.recipe": json.dumps({"op": "merge", "inputs": [], "options": {"method": "sum"}})},
    )
    files = made([tmp_path / "both.safetensors"])
    assert json.loads(files["recipe.json"])["op"] == "merge"
    assert "Made by merge" in files["README.md"].decode()


def test_what_a_version_leaves_behind_is_its_own_alone(registry: Registry, lora: Path) -> None:
    registry.publish("demo/cat@1.0.0", [lora])
    kept = ["NOTES.md", "README.md", "aliases.json", "kohya/other.safetensors", "cat/x", "dog.safetensors"]
    gone = ["cat.safetensors", DIFFUSERS, "recipe.json", "kohya/cat.safetensors", "peft/cat/adapter_config.json"]
    assert left_behind(registry.manifest("demo/cat"), [*kept, *gone]) == set(gone)


@pytest.mark.parametrize(
    ("base", "width", "repository"),
    [
        ("sd1", 320, "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("flux1", 3072, "black-forest-labs/FLUX.1-dev"),
        ("flux2", 6144, "black-forest-labs/FLUX.2-dev"),
        ("flux2", 3072, "black-forest-labs/FLUX.2-klein-4B"),
        ("flux2", 128, ""),
    ],
)
def test_the_base_is_that_of_the_variant_where_widths_tell_it(base: str, width: int, repository: str) -> None:
    part, name = {
        "sd1": ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
    }.get(base, ("transformer", "transformer_blocks.0.attn.to_q"))
    layer = Layer(
        kind="lora", slots={"down": TensorRef("F32", (2, width), ()), "up": TensorRef("F32", (width, 2), ())}, scale=1.0
    )
    adapter = lorry.Adapter(base=base, layers={ModulePath(part, name): (layer,)})
    assert base_repository(adapter, host()) == repository
    assert replace(adapter, layers={}).base == base
