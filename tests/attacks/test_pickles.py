"""Calls in every protocol and form, and functions that scanners of pickles have missed: no name gets through."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorry.errors import InvalidFile
from lorry.ops.reading.files import read_file
from lorry_plugins.formats.ckpt import read

from .attack import MARKER, in_legacy, in_zip
from .pickles import CALLS, OPCODES, TEXT

WRAPPED = pytest.mark.parametrize("wrap", [bytes, in_zip, in_legacy], ids=["bare", "zip", "legacy"])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(file: Path, data: bytes, said: str) -> None:
    file.write_bytes(data)
    with pytest.raises(InvalidFile, match=said) as refused:
        read(file)
    assert str(file) in str(refused.value)
    assert not Path(MARKER).exists()


@WRAPPED
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused(tmp_path: Path, name: str, wrap: Callable[[bytes], bytes]) -> None:
    for protocol in range(6):
        check(tmp_path / "a.pt", wrap(pickle.dumps(CALLS[name], protocol)), TEXT)


@WRAPPED
@pytest.mark.parametrize("name", OPCODES)
def test_tricks_with_opcodes_are_refused(tmp_path: Path, name: str, wrap: Callable[[bytes], bytes]) -> None:
    check(tmp_path / "a.pt", wrap(OPCODES[name]), TEXT)


@pytest.mark.parametrize("zipped_form", [True, False])
def test_a_call_beside_tensors_is_named(tmp_path: Path, *, zipped_form: bool) -> None:
    file = tmp_path / "lora.safetensors"
    torch.save({"a": torch.ones(2), "b": CALLS["system"]}, file, _use_new_zipfile_serialization=zipped_form)
    with pytest.raises(InvalidFile, match=r"refused: it asks to call posix\.system"):
        read_file(file)
    assert not Path(MARKER).exists()


@pytest.mark.parametrize(
    "name",
    ["torch._inductor.codecache.DLLWrapper", "torch.load", "torch.hub.load", "torch.storage._load_from_bytes",
     "torch.jit.unsupported_tensor_ops.execWrapper", "torch.utils.bottleneck.__main__.run_cprofile",
     "torch.utils._config_module.load_config", "torch.utils.collect_env.run", "torch._utils._rebuild_wrapper_subclass",
     "torch._tensor._rebuild_from_type_v2", "numpy.core.multiarray._reconstruct", "builtins.bytearray",
     "builtins.__import__", "pydoc.locate", "cProfile.run", "copyreg._reconstructor", "functools.partial",
     "operator.attrgetter", "collections.defaultdict", "torch.FloatStorage.__init__", "torch._utils.os.system"],
)  # fmt: skip
def test_functions_that_scanners_have_missed_are_refused(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    for spelled in (
        f"c{module}\n{function}\n",
        f"\x8c{chr(len(module))}{module}\x8c{chr(len(function))}{function}\x93",
    ):
        program = b"\x80\x04" + spelled.encode("latin-1") + b"X\x01\0\0\0x\x85R."
        check(tmp_path / "a.pt", in_zip(program), f"asks to call {name}")


def test_keys_that_share_a_storage_cannot_outgrow_the_file(tmp_path: Path) -> None:
    file, shared = tmp_path / "a.pt", torch.zeros(100_000)
    torch.save({str(at): shared for at in range(20)}, file)
    with pytest.raises(InvalidFile, match="share storages"):
        read(file)


def test_a_file_that_torch_wrote_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(compute_crc32=False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(compute_crc32=True)
    assert read(tmp_path / "a.pt").tensors["a"].torch().tolist() == [1, 1, 1]
