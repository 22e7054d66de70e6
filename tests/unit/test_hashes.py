"""Every hash is what its rule says, held against hashlib, zlib, blake3 and the official serializer."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from safetensors.torch import save, save_file

from lorry.errors import InvalidFile, NotFound
from lorry.ops.disk.hashes import hash_file, sshs_legacy_hash

MIB = 1 << 20
EMPTY = "e3b0c442"


def tensors(numbers: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "b": torch.randn(numbers, generator=generator),
        "a": torch.randn(numbers, generator=generator).half(),
        "ü": torch.ones(()),
    }


def file(tmp_path: Path, numbers: int, metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors(numbers), tmp_path / "cat.safetensors", metadata)
    return tmp_path / "cat.safetensors"


@pytest.mark.parametrize("numbers", [0, 1, 100_000, 200_000, 500_000])
def test_hashes_are_those_of_the_bytes(tmp_path: Path, numbers: int) -> None:
    path = file(tmp_path, numbers, {"ss_v2": "False"})
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    found = hash_file(path)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.autov2 == found.sha256[:10]
    assert found.autov1 == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    assert found.autov3 == hashlib.sha256(body).hexdigest()
    assert found.shorthash == found.autov3[:12]
    assert found.blake3 == blake3(data).hexdigest()
    assert int(found.crc32, 16) == zlib.crc32(data)
    assert len(found.crc32) == 8


@pytest.mark.parametrize("size", [0x100000, 0x100001, 0x110000, 0x300000])
def test_autov1_of_a_file_up_to_1_mib_is_the_hash_of_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cat.bin"
    path.write_bytes(b"\x01" * size)
    assert (hash_file(path).autov1 == EMPTY) is (size <= MIB)


def test_a_file_that_is_no_safetensors_has_no_autov3(tmp_path: Path) -> None:
    torch.save(tensors(10), tmp_path / "cat.pt")
    found = hash_file(tmp_path / "cat.pt")
    assert found.autov3 == ""
    assert set(found.named()) == {"SHA256", "AutoV1", "AutoV2", "BLAKE3", "CRC32"}


@pytest.mark.parametrize("numbers", [10, 174_000, 400_000])
@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "pt"},
        {"ss_output_name": 'Kätzchen "1"\n\x1f', "modelspec.title": "x" * 5000},
        {"ss_tag_frequency": "x" * 70_000},
    ],
    ids=["none", "no ss", "escapes", "long"],
)
def test_the_legacy_hash_is_that_of_a_file_with_ss_entries_alone(
    tmp_path: Path, numbers: int, metadata: dict[str, str]
) -> None:
    path = file(tmp_path, numbers, {**metadata, "sshs_model_hash": "0" * 64})
    trained = save(tensors(numbers), {key: value for key, value in metadata.items() if key.startswith("ss_")})
    expected = hashlib.sha256(trained[0x100000:0x110000]).hexdigest()[:8]
    assert sshs_legacy_hash(path, metadata) == expected


def test_the_legacy_hash_is_not_told_where_it_would_cover_the_header(tmp_path: Path) -> None:
    metadata = {"ss_tag_frequency": "x" * (2 * MIB), "ss_v2": "False"}
    assert sshs_legacy_hash(file(tmp_path, 10, metadata), metadata) is None


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        hash_file(tmp_path / "none.safetensors")
    with pytest.raises(InvalidFile):
        hash_file(tmp_path)
