"""References and base names, as the rest of lorry sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

import lorry
from lorry.errors import Conflict, NotFound, UnknownName
from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats import safetensors
from lorry_registry import Registry
from lorry_registry.plugin import find_adapter, list_bases

from .helpers import matrix, write_lora


@pytest.mark.usefixtures("published")
def test_a_reference_is_opened_as_the_file_is(lora: Path) -> None:
    (opened,), (direct,) = (lorry.open(each).layers.values() for each in ("demo/cat", str(lora)))
    for one, other in zip(opened, direct, strict=True):
        assert one.scale == other.scale
        assert all(ref.same(other.slots[slot]) for slot, ref in one.slots.items())


@pytest.mark.usefixtures("published")
def test_files_keep_their_names_since_formats_read_them(published: Registry, tmp_path: Path) -> None:
    import random

    embedding = tmp_path / "my-token.safetensors"
    safetensors.write(TensorMap(tensors={"emb_params": matrix(random.Random(0), 2, 768)}), embedding)
    published.publish("demo/token@1.0.0", [embedding])
    assert set(lorry.open("demo/token").tokens) == {"my-token"} == set(published.manifest("demo/token").adapter.tokens)
    assert published.manifest("demo/token").files[0].role == "embedding"


def test_only_the_adapters_own_files_are_opened(registry: Registry, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("A cat.")
    registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "cat.safetensors"), card])
    assert [path.name for path in find_adapter("demo/cat") or ()] == ["cat.safetensors"]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("text", ["cat.safetensors", "loras/dog.safetensors", "hf://demo/cat", "C:\\cat", "a/b@1"])
def test_what_is_no_reference_to_anything_here_is_left_to_others(text: str) -> None:
    assert find_adapter(text) is None


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("text", "message"), [("demo/cat@2.0.0", "no version 2.0.0"), ("demo/caat", "did you mean demo/cat")]
)
def test_what_is_nearly_right_is_told(text: str, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        lorry.open(text)


def test_a_base_can_be_given_a_name(registry: Registry, tmp_path: Path) -> None:
    base = tmp_path / "model"
    base.mkdir()
    registry.bases.add("my-sd", base)
    assert list_bases() == {"my-sd": base}
    registry.bases.remove("my-sd")
    assert list_bases() == {}
    assert base.exists()


def test_the_name_of_a_base_is_not_taken_from_it_unasked(registry: Registry, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    registry.bases.add("my-sd", one)
    with pytest.raises(Conflict):
        registry.bases.add("my-sd", other)
    assert list_bases() == {"my-sd": one}
    registry.bases.add("my-sd", other, force=True)
    assert list_bases() == {"my-sd": other}


def test_a_base_that_is_not_there_gets_no_name(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        registry.bases.add("my-sd", tmp_path / "missing")
    with pytest.raises(UnknownName):
        registry.bases.remove("my-sd")
