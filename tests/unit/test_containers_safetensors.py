"""The safetensors container against the official library, and what it says of files that are none."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorry.errors import InvalidArgument, InvalidFile, NotRecognised, NotRepresentable
from lorry.ir.file_sink import PIECE
from lorry.ir.tensor import TensorRef, zeros
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.files import read_file
from lorry_plugins.formats.safetensors import DTYPES, read, sniff, write

DTYPES_OF_TORCH = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e8m0fnu, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.complex64, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
]  # fmt: skip

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20).filter(lambda name: name != "__metadata__")


def tensor(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    size = torch.Size(shape).numel() * dtype.itemsize
    return torch.tensor([each % 2 for each in range(size)], dtype=torch.uint8).view(dtype).reshape(shape)


def test_reads_what_the_official_library_writes(tmp_path: Path) -> None:
    wanted = {f"layer.{dtype}": tensor(dtype, 2, 3) for dtype in DTYPES_OF_TORCH}
    wanted |= {"empty": torch.zeros(0, 4), "number": torch.tensor(0.5)}
    safetensors.torch.save_file(wanted, tmp_path / "a.safetensors", {"ss_network_dim": "4"})

    got = read(tmp_path / "a.safetensors")

    assert got.metadata == {"ss_network_dim": "4"}
    assert got.tensors.keys() == wanted.keys()
    for key, value in wanted.items():
        assert got.tensors[key].same(TensorRef.from_torch(value))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    shapes=st.dictionaries(
        NAMES, st.tuples(st.sampled_from(DTYPES_OF_TORCH), st.lists(st.integers(0, 4), max_size=3)), max_size=8
    ),
    note=st.none() | st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_writes_the_bytes_the_official_library_writes(
    tmp_path: Path, shapes: dict[str, tuple[torch.dtype, list[int]]], note: tuple[str, str] | None
) -> None:
    tensors = {name: tensor(dtype, *shape) for name, (dtype, shape) in shapes.items()}
    metadata = dict([note]) if note else {}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    ours.unlink(missing_ok=True)
    safetensors.torch.save_file(tensors, theirs, metadata or None)

    write(
        TensorMap(tensors={key: TensorRef.from_torch(each) for key, each in tensors.items()}, metadata=metadata), ours
    )

    assert ours.read_bytes() == theirs.read_bytes()
    ours.unlink()
    write(read(theirs), ours)
    assert ours.read_bytes() == theirs.read_bytes()


def test_dtypes_without_torch_are_ordered_as_the_official_library_orders_them(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write(TensorMap(tensors={dtype: zeros(dtype, (8,)) for dtype in DTYPES if dtype != "F8_E8M0"}), file)
    with safetensors.safe_open(file, "pt") as official:
        assert official.offset_keys() == [dtype for dtype in reversed(DTYPES) if dtype != "F8_E8M0"]


def test_metadata_keeps_its_order(tmp_path: Path) -> None:
    metadata = dict.fromkeys(("z", "a", "modelspec.title", "m"), "é\n\u2028")
    write(TensorMap(tensors={}, metadata=metadata), tmp_path / "a.safetensors")
    assert list(read(tmp_path / "a.safetensors").metadata.items()) == list(metadata.items())


def test_tensors_keep_the_order_of_the_header(tmp_path: Path) -> None:
    keys = {"z": [0, 4], "a": [4, 8]}
    header = json.dumps({key: {"dtype": "F32", "shape": [1], "data_offsets": at} for key, at in keys.items()}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert list(read(tmp_path / "a").tensors) == ["z", "a"]


def test_nothing_large_is_held_in_memory(tmp_path: Path) -> None:
    size = 6 * PIECE
    with (tmp_path / "large").open("wb") as file:
        header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    tracemalloc.start()
    write(read(tmp_path / "large"), tmp_path / "copy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * PIECE + (1 << 20)
    assert (tmp_path / "copy").stat().st_size >= size


def test_writing_does_not_replace(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(FileExistsError):
        write(TensorMap(tensors={}), tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (TensorMap(tensors={"a": zeros("F32", (1,))}, values={"step": 1}), "step: is a plain value"),
        (TensorMap(tensors={}, sides={"README.md": b""}), "README.md: is a file of its own"),
    ],
)
def test_what_has_no_place_is_not_dropped(tmp_path: Path, tensors: TensorMap, said: str) -> None:
    with pytest.raises(NotRepresentable, match=said):
        write(tensors, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("key", "said"), [("__metadata__", "named '__metadata__'"), ("a\n", "control"), ("a" * 600, "512"), ("\ud800", "")]
)
def test_keys_that_could_not_be_read_are_not_written(tmp_path: Path, key: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=f"cannot be written as safetensors.*{said}"):
        write(TensorMap(tensors={key: zeros("F32", (1,))}, metadata={"a": "b"}), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_cut_off_file_is_said_so(tmp_path: Path) -> None:
    whole = safetensors.torch.save({"a": torch.ones(100), "b": torch.ones(3)})
    header_end = 8 + int.from_bytes(whole[:8], "little")
    for length in (9, header_end - 1, header_end, len(whole) - 1):
        (tmp_path / "a").write_bytes(whole[:length])
        assert sniff(tmp_path / "a")
        with pytest.raises(InvalidFile, match="cut off"):
            read(tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", InvalidFile, "is empty"),
        (b"<!DOCTYPE html><html>", NotRecognised, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", NotRecognised, "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", NotRecognised, "PNG picture"),
        (b"PK\x03\x04" + bytes(30), NotRecognised, "zip archive"),
        (b'{"a": 1}', NotRecognised, "is JSON"),
        (b"\x80\x04N.", InvalidFile, "not one that torch wrote"),
    ],
)
def test_other_files_of_that_name_are_named(tmp_path: Path, data: bytes, error: type[Exception], said: str) -> None:
    file = tmp_path / "lora.safetensors"
    file.write_bytes(data)
    assert not sniff(file)
    with pytest.raises(InvalidFile):
        read(file)
    with pytest.raises(error, match=said):
        read_file(file)


def test_a_torch_file_of_that_name_is_read_as_what_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "lora.safetensors")
    container, tensors = read_file(tmp_path / "lora.safetensors")
    assert (container.name, list(tensors.tensors)) == ("ckpt", ["a"])


def test_a_folder_or_a_missing_file_is_not_sniffed(tmp_path: Path) -> None:
    assert not sniff(tmp_path)
    assert not sniff(tmp_path / "missing")


@pytest.mark.parametrize("module", ["safetensors", "ckpt", "folder"])
def test_reading_loads_neither_torch_nor_numpy(module: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, 2).t()}, tmp_path / "a.pt")
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    (tmp_path / "folder").mkdir()
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "folder" / "a.safetensors")
    path = {"ckpt": "a.pt", "safetensors": "a.safetensors", "folder": "folder"}[module]
    program = f"""
import sys
from pathlib import Path
from lorry_plugins.formats import {module} as container
for ref in container.read(Path({path!r})).tensors.values():
    ref.tobytes()
heavy = {{"torch", "numpy", "pickle", "safetensors", "pydantic", "rich", "huggingface_hub"}}
print(*sorted(heavy & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout == "\n"
