"""What every installed container keeps: it takes its own files and no other container's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from lorry.errors import LorryError
from lorry.ir import TensorMap, TensorRef
from lorry.ops.files import read_file
from lorry.plugin.host import host

WRITERS = [name for name, container in host().containers().items() if container.write]
KEY = "unet.mid_block.resnets.0.conv1.lora_A.weight"


def written(name: str, path: Path, **metadata: str) -> Path:
    write = host().containers()[name].write
    assert write is not None
    write(TensorMap(tensors={KEY: TensorRef.from_torch(torch.ones(2, 3))}, metadata=metadata), path)
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_what_it_writes_is_taken_by_it_alone_at_any_length_of_its_header(name: str, tmp_path: Path) -> None:
    for length in range(0, 1600, 8):  # 640 = 0x0280 is where a safetensors header begins like a pickle
        path = written(name, tmp_path / str(length), note="x" * length)
        assert [each for each, found in host().containers().items() if found.sniff(path)] == [name]
        assert len(read_file(path)[1].tensors) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_equal_tensors_give_equal_bytes(name: str, tmp_path: Path) -> None:
    paths = [written(name, tmp_path / each, b="2", a="1") for each in ("one", "two")]
    one, two = ([each.read_bytes() for each in (path, *sorted(path.rglob("*"))) if each.is_file()] for path in paths)
    assert one == two


@pytest.mark.parametrize(
    "data", [b"\x00", b"{}", b"PK\x03\x04nothing of torch", b"\x80\x02}q\x00.", b"GGUF\x03\x00\x00\x00", bytes(64)]
)
def test_a_few_bytes_of_anything_are_never_a_crash(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "some").write_bytes(data)
    for container in host().containers().values():
        container.sniff(tmp_path / "some")
    with suppress(LorryError):
        assert not read_file(tmp_path / "some")[1].tensors
