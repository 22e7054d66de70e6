"""Whatever bytes of a sound file are changed, it is read or refused: no other error, and never half a tensor."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorry.errors import InvalidFile
from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats import ckpt, safetensors

from .attack import file_of, header_of, one

BYTES = (0, 1, 0x22, 0x28, 0x2C, 0x30, 0x52, 0x7B, 0x7F, 0xFF)


def outcomes(file: Path, whole: bytes, read: Callable[[Path], TensorMap]) -> set[int]:
    """Return how many tensors were read whole in each of 500 files, -1 where the file was refused."""
    chance = random.Random(0)
    found = set()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((*BYTES, chance.randrange(256)))
        file.write_bytes(data)
        try:
            found.add(sum(len(ref.tobytes()) == ref.nbytes for ref in read(file).tensors.values()))
        except InvalidFile:
            found.add(-1)
    return found


def test_safetensors(tmp_path: Path) -> None:
    header = header_of(("__metadata__", {"k": "v"}), ("a", one()), ("b", one(at=(4, 8))))
    assert outcomes(tmp_path / "a", file_of(header, bytes(8)), safetensors.read) >= {-1, 2}


@pytest.mark.parametrize("zipped_form", [True, False])
def test_pickles(tmp_path: Path, *, zipped_form: bool) -> None:
    file = tmp_path / "a.pt"
    torch.save({"a": torch.ones(2, 3).t(), "b": [1, "x"]}, file, _use_new_zipfile_serialization=zipped_form)
    assert outcomes(file, file.read_bytes(), ckpt.read) >= {-1, 1}
