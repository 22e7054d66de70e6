"""Adapters as folders: which file is meant, what comes with it, and what a folder of a base is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorry.errors import InvalidFile, NotRepresentable
from lorry.ir.tensor import zeros
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.files import read_file
from lorry_plugins.formats.folder import read, sniff, write


def weights(file: Path, *keys: str, metadata: dict[str, str] | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: torch.full((2,), float(at)) for at, key in enumerate(keys or ("a",))}
    if file.suffix == ".safetensors":
        save_file(tensors, file, metadata)
    else:
        torch.save(tensors, file)
    return file


def sharded(folder: Path, **shards: list[str]) -> Path:
    for name, keys in shards.items():
        weights(folder / f"{name}.safetensors", *keys, metadata={"format": "pt"})
    index = {key: f"{name}.safetensors" for name, keys in shards.items() for key in keys}
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": index}))
    return file


@pytest.mark.parametrize(
    "name",
    ["adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin",
     "learned_embeds.bin", "my-style.safetensors", "my-style.pt"],
)  # fmt: skip
def test_the_one_weights_file_is_read(tmp_path: Path, name: str) -> None:
    weights(tmp_path / name, "x", "y")
    container, found = read_file(tmp_path)
    assert container.name == "folder"
    assert list(found.tensors) == ["x", "y"]
    assert found.paths == (tmp_path / name,)


def test_text_and_pictures_come_with_it(tmp_path: Path) -> None:
    weights(tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    sides = {"adapter_config.json": b'{"r": 4}', "README.md": b"# card", "LICENSE": b"free", "image_0.PNG": b"\x89PNG"}
    for name, data in sides.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".gitattributes").write_text("hidden")
    (tmp_path / "large.txt").write_bytes(bytes((1 << 20) + 1))
    weights(tmp_path / "training_args.bin")
    weights(tmp_path / "optimizer.pt")
    weights(tmp_path / "checkpoint-500" / "adapter_model.safetensors")

    found = read(tmp_path)

    assert found.sides == sides
    assert found.metadata == {"format": "pt"}


@pytest.mark.parametrize(
    "names",
    [("a.safetensors", "b.safetensors"), ("a.safetensors", "a.pt"), ("a.ckpt", "a.pt"),
     ("adapter_config.json", "adapter_model.safetensors", "other.bin")],
)  # fmt: skip
def test_several_weights_files_are_listed_not_chosen_from(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        weights(tmp_path / name)
    assert sniff(tmp_path)
    with pytest.raises(InvalidFile, match="name one of them") as refused:
        read(tmp_path)
    assert all(name in str(refused.value) for name in names[-2:])


def test_the_same_weights_in_both_forms_are_one(tmp_path: Path) -> None:
    weights(tmp_path / "learned_embeds.bin")
    weights(tmp_path / "learned_embeds.safetensors")
    assert read(tmp_path).paths == (tmp_path / "learned_embeds.safetensors",)


@pytest.mark.parametrize("entry", ["model_index.json", "unet/", "transformer/", "text_encoder/", "vae/"])
def test_a_base_model_is_no_adapter(tmp_path: Path, entry: str) -> None:
    weights(tmp_path / "v1-5.safetensors")
    if entry.endswith("/"):
        (tmp_path / entry).mkdir()
    else:
        (tmp_path / entry).write_text("{}")
    assert not sniff(tmp_path)


def test_nothing_or_a_file_is_no_adapter_folder(tmp_path: Path) -> None:
    assert not sniff(tmp_path)
    assert not sniff(weights(tmp_path / "a.safetensors"))
    assert not sniff(tmp_path / "missing")


def test_a_config_without_weights_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert sniff(tmp_path)
    with pytest.raises(InvalidFile, match="no weights file"):
        read(tmp_path)


def test_shards_are_put_together(tmp_path: Path) -> None:
    sharded(tmp_path, two=["c", "b"], one=["z", "a"])
    found = read(tmp_path)
    assert list(found.tensors) == ["a", "z", "b", "c"]
    assert found.metadata == {"format": "pt"}
    assert [path.name for path in found.paths] == ["one.safetensors", "two.safetensors"]
    assert found.sides == {}


def test_shards_and_index_must_agree(tmp_path: Path) -> None:
    index = sharded(tmp_path, one=["a"], two=["b"])
    weights(tmp_path / "one.safetensors", "a", "extra")
    with pytest.raises(InvalidFile, match="unannounced the tensor 'extra'"):
        read(tmp_path)
    weights(tmp_path / "one.safetensors", "other")
    with pytest.raises(InvalidFile, match="lacks the tensor 'a'"):
        read(tmp_path)
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(InvalidFile, match="lacks the shard one"):
        read(tmp_path)
    index.write_text('{"weight_map": ["a"]}')
    with pytest.raises(InvalidFile, match="not an index"):
        read(tmp_path)


def test_shards_must_agree_on_metadata(tmp_path: Path) -> None:
    sharded(tmp_path, one=["a"], two=["b"])
    weights(tmp_path / "two.safetensors", "b", metadata={"format": "tf"})
    with pytest.raises(InvalidFile, match="disagree on 'format'"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["../one.safetensors", "/etc/passwd", "sub/one.safetensors", "a\\b.safetensors", ".."])
def test_shards_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    weights(tmp_path / "one.safetensors", "a")
    folder = tmp_path / "folder"
    index = sharded(folder, one=["a"])
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InvalidFile, match="no file beside it"):
        read(folder)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "README.md", "model.safetensors.index.json"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    sharded(tmp_path / "home", one=["a"])
    (tmp_path / "home" / "secret").write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    if name != "adapter_model.safetensors":
        weights(folder / "one.safetensors", "a")
    targets = {"README.md": "secret", "model.safetensors.index.json": name}
    (folder / name).symlink_to(tmp_path / "home" / targets.get(name, "one.safetensors"))
    with pytest.raises(InvalidFile, match="outside its folder"):
        read(folder)


@pytest.mark.parametrize("blobs", ["blobs", "../blobs/ab"])
def test_a_snapshot_of_the_hub_cache_is_read(tmp_path: Path, blobs: str) -> None:
    repo = tmp_path / "hub" / "models--me--style"
    blob = weights(repo / blobs / "0123.safetensors", "x")
    snapshot = repo / "snapshots" / "abcd"
    snapshot.mkdir(parents=True)
    (snapshot / "style.safetensors").symlink_to(blob)
    (snapshot / "adapter_config.json").symlink_to(blob)
    assert list(read(snapshot).tensors) == ["x"]


@pytest.mark.parametrize(
    ("sides", "name"),
    [({"adapter_config.json": b"{}", "README.md": b"#"}, "adapter_model.safetensors"),
     ({}, "pytorch_lora_weights.safetensors")],
)  # fmt: skip
def test_what_is_written_is_read_back(tmp_path: Path, sides: dict[str, bytes], name: str) -> None:
    adapter = TensorMap(tensors={"a": zeros("F16", (2, 3))}, metadata={"b": "c"}, sides=sides)
    write(adapter, tmp_path / "new")
    found = read(tmp_path / "new")
    assert (found.metadata, found.sides, list(found.tensors)) == (adapter.metadata, sides, ["a"])
    assert {file.name for file in (tmp_path / "new").iterdir()} == {name, *sides}
    write(found, tmp_path / "again")
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/b", "a\\b", "..", "", "pytorch_lora_weights.safetensors"]
)
def test_side_files_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotRepresentable, match="plain name"):
        write(TensorMap(tensors={}, sides={name: b""}), tmp_path / "new")
    assert not (tmp_path / "new").exists()
