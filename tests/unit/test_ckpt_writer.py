"""Pickles that lorry writes: read by torch with weights only, and nothing in them but tensors and plain values."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import InvalidArgument, NotRepresentable
from lorry.ir import TensorMap, TensorRef
from lorry.ir.tensor import from_bytes
from lorry.ir.tensor_map import Scalar
from lorry_plugins.formats import ckpt
from tests.support.files import write

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16,
)  # fmt: skip
NAMES = {"torch._utils", "torch", "torch.storage", "collections"}


def _refs(tensors: dict[str, torch.Tensor]) -> dict[str, TensorRef]:
    return {key: TensorRef.from_torch(tensor) for key, tensor in tensors.items()}


def _load(path: Path) -> object:
    loaded: object = torch.load(path, weights_only=True)
    return loaded


def test_torch_reads_every_dtype_and_shape_as_it_was(tmp_path: Path) -> None:
    tensors = {f"a.{dtype}": torch.randint(0, 2, (2, 3, 1)).to(dtype) for dtype in DTYPES}
    tensors |= {"number": torch.tensor(4.0), "none": torch.empty(0, 5)}
    ckpt.write(TensorMap(tensors=_refs(tensors)), tmp_path / "x.pt")
    found = _load(tmp_path / "x.pt")
    assert isinstance(found, dict)
    assert list(found) == list(tensors)
    for key, tensor in tensors.items():
        assert (found[key].dtype, found[key].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[key].flatten().view(torch.uint8), tensor.flatten().view(torch.uint8))
    back = ckpt.read(tmp_path / "x.pt")
    assert all(ref.same(back.tensors[key]) for key, ref in _refs(tensors).items())


def test_numbers_become_a_list_and_values_stay_plain(tmp_path: Path) -> None:
    tensors = [torch.randn(3, 1), torch.randn(1, 3)]
    ckpt.write(TensorMap(tensors=_refs({str(at): each for at, each in enumerate(tensors)})), tmp_path / "list.pt")
    found = _load(tmp_path / "list.pt")
    assert isinstance(found, list)
    assert all(map(torch.equal, found, tensors))
    values: dict[str, Scalar] = {
        "step": 5,
        "large": 1 << 70,
        "rate": 0.25,
        "name": "füchs",
        "on": True,
        "none": None,
        "minus": -3,
    }
    ckpt.write(TensorMap(tensors={}, values=values), tmp_path / "values.pt")
    assert _load(tmp_path / "values.pt") == values
    assert ckpt.read(tmp_path / "values.pt").values == values


def test_the_pickle_names_tensors_alone(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.ones(2).to(dtype) for dtype in DTYPES}
    ckpt.write(TensorMap(tensors=_refs(tensors), values={"text": "cos\nsystem\n(S'x'\ntR."}), tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None
        program = archive.read("archive/data.pkl")
    named = {str(argument).rpartition(" ")[0] for op, argument, _ in pickletools.genops(program) if op.name == "GLOBAL"}
    assert named <= NAMES


def test_storages_begin_where_they_can_be_mapped(tmp_path: Path) -> None:
    ckpt.write(TensorMap(tensors=_refs({"a": torch.randn(3), "b": torch.randn(5)})), tmp_path / "x.pt")
    found = torch.load(tmp_path / "x.pt", weights_only=True, mmap=True)
    assert all(tensor.data_ptr() % 64 == found["a"].data_ptr() % 64 for tensor in found.values())


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (TensorMap(tensors={"a": from_bytes("F4", (2,), b"\0")}), NotRepresentable),
        (TensorMap(tensors={}, sides={"a.json": b""}), NotRepresentable),
        (TensorMap(tensors=_refs({"a\n": torch.ones(1)})), InvalidArgument),
        (TensorMap(tensors=_refs({"a": torch.ones(1)}), values={"a": 1}), InvalidArgument),
    ],
)
def test_what_nobody_could_read_is_refused(source: TensorMap, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        ckpt.write(source, tmp_path / "x.pt")


def test_the_suffix_asks_for_a_pickle_and_a_header_is_not_dropped_unsaid(tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{name}.lora_down.weight": torch.randn(2, 320), f"{name}.lora_up.weight": torch.randn(320, 2)}
    adapter = lorry.open(write(tmp_path / "x.safetensors", tensors, {"ss_note": "mine"}))
    with pytest.raises(NotRepresentable, match="ss_note"):
        lorry.save(adapter, tmp_path / "x.pt", "kohya")
    saved = lorry.save(adapter, tmp_path / "x.pt", "kohya", lossy=True)
    assert (saved.container, list(saved.lost)) == ("ckpt", ["ss_note"])
    found = _load(saved.path)
    assert isinstance(found, dict)
    assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())


def test_a_scale_that_only_a_header_tells_is_never_left_out(tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{name}.lora_down.weight": torch.randn(2, 320), f"{name}.lora_up.weight": torch.randn(320, 2)}
    adapter = lorry.open(write(tmp_path / "x.safetensors", {**tensors, f"{name}.alpha": torch.tensor(1.0)}))
    with pytest.raises(NotRepresentable, match="scale stands in it"):
        lorry.save(adapter, tmp_path / "x.bin", "diffusers", lossy=True)
