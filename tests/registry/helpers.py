"""Small adapters written without torch, and manifests for tests that need no adapter."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Mapping
from pathlib import Path

from lorry.ir.tensor import TensorRef, from_bytes
from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats import safetensors
from lorry_registry.disk import durable
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.version.manifest import AdapterFacts, Base, File, Id, Manifest

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
RANK, WIDTH = 2, 16


def matrix(chance: random.Random, rows: int, cols: int) -> TensorRef:
    numbers = [chance.uniform(-1, 1) for _ in range(rows * cols)]
    return from_bytes("F32", (rows, cols), struct.pack(f"<{len(numbers)}f", *numbers))


def write_lora(path: Path, seed: int = 0, metadata: Mapping[str, str] | None = None, stem: str = STEM) -> Path:
    """Write a kohya LoRA of one layer for SD1."""
    chance = random.Random(seed)
    tensors = {
        f"{stem}.alpha": from_bytes("F32", (), struct.pack("<f", RANK)),
        f"{stem}.lora_down.weight": matrix(chance, RANK, WIDTH),
        f"{stem}.lora_up.weight": matrix(chance, WIDTH, RANK),
    }
    safetensors.write(TensorMap(tensors=tensors, metadata=metadata or {}), path)
    return path


def data_manifest(reference: str, data: bytes) -> Manifest:
    """Describe a version of one file that is no adapter."""
    target = Reference.parse(reference)
    return Manifest(
        id=Id(namespace=target.namespace, name=target.name, version=str(target.exact())),
        files=(
            File(
                path="data.bin",
                role="weights",
                media_type="application/octet-stream",
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            ),
        ),
        adapter=AdapterFacts(kinds=("lora",), format="none", components=(), layers=0, ranks={}, dtypes=(), n_params=0),
        base=Base(id="sd1@1", fingerprint="0" * 64),
    )


def publish_bytes(store: LocalStore, reference: str, data: bytes) -> bool:
    """Publish a version of one file by way of the store alone, which does not care what is in it."""
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as draft:
        durable.write(draft, data, durable.READ_ONLY)
        return store.publish(data_manifest(reference, data), {"data.bin": draft})
