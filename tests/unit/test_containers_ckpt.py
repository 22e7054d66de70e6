"""The ckpt container against torch.load, on files torch writes in both of its forms."""

from __future__ import annotations

import io
import math
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorry.errors import InvalidFile
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats.ckpt import read, sniff

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16,
    torch.uint32, torch.uint64,
]  # fmt: skip


def save(thing: object, path: Path, *, zipped: bool = True, protocol: int = 2) -> Path:
    torch.save(thing, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return path


def leaves(thing: object, prefix: str = "") -> dict[str, Any]:
    """Flatten what torch loads, by the rule the container follows."""
    pairs: Any = None
    if isinstance(thing, (dict, torch.nn.ParameterDict)):
        pairs = thing.items()
    elif isinstance(thing, (list, tuple)):
        pairs = enumerate(thing)
    if pairs is None:
        return {prefix: thing}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def agree(found: TensorMap, loaded: object) -> None:
    wanted = leaves(loaded)
    tensors = {key: value for key, value in wanted.items() if isinstance(value, torch.Tensor)}
    assert list(found.tensors) == list(tensors)
    assert found.values == {key: value for key, value in wanted.items() if key not in tensors}
    for key, tensor in tensors.items():
        ref = found.tensors[key]
        assert ref.shape == tuple(tensor.shape), key
        assert ref.same(TensorRef.from_torch(tensor)), key


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nested_tables_and_lists_become_dotted_keys(tmp_path: Path, protocol: int, *, zipped: bool) -> None:
    thing = {
        "state_dict": {"a.weight": torch.arange(6.0).reshape(2, 3), 7: torch.tensor(3)},
        "list": [torch.zeros(0, 2), (torch.ones(1), "text"), []],
        "step": 1000, "name": "mytok", "rate": 1e-4, "none": None, "yes": True, "large": -(1 << 70),
    }  # fmt: skip
    file = save(thing, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    assert sniff(file)
    agree(read(file), thing)


@FORMS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_dtype(tmp_path: Path, dtype: torch.dtype, *, zipped: bool) -> None:
    data = torch.tensor([each % 2 for each in range(6 * dtype.itemsize)], dtype=torch.uint8).view(dtype)
    thing = {"a": data, "b": data.reshape(2, 3).t()}
    agree(read(save(thing, tmp_path / "a.pt", zipped=zipped)), thing)


@FORMS
def test_a_list_without_names_is_numbered(tmp_path: Path, *, zipped: bool) -> None:
    thing = [torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float16)), torch.zeros(3, requires_grad=True)]
    agree(read(save(thing, tmp_path / "a.pt", zipped=zipped)), thing)


@FORMS
def test_storages_may_be_shared(tmp_path: Path, *, zipped: bool) -> None:
    table = torch.arange(24.0).reshape(6, 4)
    thing = {"row": table[2], "rows": table[1:3], "column": table[:, 1], "again": table, "turned": table.t()}
    found = read(save(thing, tmp_path / "a.pt", zipped=zipped))
    agree(found, thing)
    assert found.tensors["row"].segments[0].source == found.tensors["again"].segments[0].source


@FORMS
def test_a_module_and_its_state_dict(tmp_path: Path, *, zipped: bool) -> None:
    conv = torch.nn.Conv2d(2, 3, 3)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    module = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(3))
    file = save(module.state_dict(), tmp_path / "a.pt", zipped=zipped)
    agree(read(file), torch.load(file, weights_only=True))


@FORMS
def test_a_parameter_dict_is_its_parameters(tmp_path: Path, *, zipped: bool) -> None:
    thing = {"string_to_param": torch.nn.ParameterDict({"*": torch.ones(3, 16)}), "string_to_token": {"*": 265}}
    agree(read(save(thing, tmp_path / "a.pt", zipped=zipped)), thing)


def test_numbers_of_numpy_and_small_types_of_torch_are_plain_values(tmp_path: Path) -> None:
    thing = {
        "half": np.float16(0.5), "loss": np.float32(1.5), "best": np.float64(0.1), "step": np.int64(-3),
        "yes": np.bool_(1), "dtype": torch.float16, "device": torch.device("cuda:1"), "size": torch.Size([2, 3]),
        "set": {4}, "ordered": OrderedDict(a=1),
    }  # fmt: skip
    assert read(save(thing, tmp_path / "a.pt")).values == {
        "half": 0.5, "loss": 1.5, "best": 0.1, "step": -3, "yes": True, "dtype": "torch.float16", "device": "cuda:1",
        "size.0": 2, "size.1": 3, "set.0": 4, "ordered.a": 1,
    }  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data(), zipped=st.booleans())
def test_any_view_reads_as_torch_reads_it(tmp_path: Path, data: st.DataObject, *, zipped: bool) -> None:
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4), label="shape")
    dtype = data.draw(st.sampled_from([torch.uint8, torch.float16, torch.float32, torch.float64]), label="dtype")
    tensor = torch.arange(math.prod(shape)).to(dtype).reshape(shape)
    tensor = tensor.permute(data.draw(st.permutations(range(len(shape))), label="order"))
    for axis, size in enumerate(tensor.shape):
        first = data.draw(st.integers(0, size), label="first")
        tensor = tensor[(slice(None),) * axis + (slice(first, None, data.draw(st.integers(1, 2), label="step")),)]
    file = save({"a": tensor}, tmp_path / "a.pt", zipped=zipped)

    found = read(file)

    agree(found, torch.load(file, weights_only=True))
    ref = found.tensors["a"]
    if ref.shape and ref.shape[0]:
        assert torch.equal(ref.rows(1, ref.shape[0]).torch(), tensor[1:])


def test_a_zip_past_four_gigabytes_is_read(tmp_path: Path) -> None:
    """Sparse, so that it takes no room: the members stand behind a hole, where 32 bits do not reach."""
    small = save({"a": torch.arange(4.0)}, tmp_path / "small.pt")
    with zipfile.ZipFile(small) as source, (tmp_path / "large.pt").open("wb") as file:
        file.truncate(5 << 30)
        file.seek(5 << 30)
        with zipfile.ZipFile(file, "w") as target:
            for name in source.namelist():
                target.writestr(name, source.read(name))
    large = tmp_path / "large.pt"
    with large.open("r+b") as file:
        file.write(b"PK\x03\x04")
    assert read(large).tensors["a"].torch().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (torch.ones(2), "TensorRef instead of a table"),
        ({"a": {"b": 1}, "a.b": 2}, "both be called a.b"),
        ({"a": b"bytes"}, "a is a value of type bytes"),
        ({"a": torch.ones(1, dtype=torch.complex64).conj()}, "conjugated"),
        ({"a": torch.ones(2, dtype=torch.complex128)}, "ComplexDoubleStorage"),
        ({"a": torch.ones(1).expand(4)}, "4 elements from a storage that has 1"),
        ({"a": torch.ones(2, device="meta")}, "_rebuild_meta_tensor_no_storage"),
        ({"a": torch.ones(2).to_sparse()}, "_rebuild_sparse_tensor"),
        ({"a": torch.ones(2).untyped_storage()}, "a is a value of type Storage"),
        ({"a": np.ones(2)}, "_reconstruct"),
        ({(1, 2): 3}, "tuple as the key"),
        ({"a\x1b[31m": 3}, "control characters"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_table_of_tensors_is_refused_by_name(tmp_path: Path, thing: object, said: str) -> None:
    with pytest.raises(InvalidFile, match=said) as refused:
        read(save(thing, tmp_path / "a.pt"))
    assert str(tmp_path / "a.pt") in str(refused.value)
    assert "safetensors instead" in str(refused.value)


@FORMS
def test_each_way_of_cutting_a_file_off_is_refused(tmp_path: Path, *, zipped: bool) -> None:
    whole = save({"a": torch.ones(2), "b": [1, "x"]}, tmp_path / "a.pt", zipped=zipped).read_bytes()
    cut = tmp_path / "cut.pt"
    for length in (*range(0, len(whole) - 30, 5), *range(len(whole) - 30, len(whole))):
        cut.write_bytes(whole[:length])
        with pytest.raises(InvalidFile, match=r"cut\.pt is refused"):
            read(cut)


def test_other_files_are_not_sniffed(tmp_path: Path) -> None:
    for at, data in enumerate([b"", b"text", b"\x80", b"PK\x05\x06" + bytes(18)]):
        (tmp_path / str(at)).write_bytes(data)
        assert not sniff(tmp_path / str(at))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "text")
    (tmp_path / "zip").write_bytes(buffer.getvalue())
    assert not sniff(tmp_path / "zip")
    assert not sniff(tmp_path)
