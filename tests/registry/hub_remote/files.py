"""Small adapters that these tests alone need."""

from __future__ import annotations

import random
from pathlib import Path

from lorry.ir.tensor_map import TensorMap
from lorry_plugins.formats import safetensors
from tests.registry.helpers import RANK, STEM, WIDTH, matrix


def write_loha(path: Path) -> Path:
    """Write a LoHa of one layer for SD1, which diffusers' dialect has no place for."""
    chance = random.Random(0)
    out, into = (WIDTH, RANK), (RANK, WIDTH)
    slots = {"hada_w1_a": out, "hada_w1_b": into, "hada_w2_a": out, "hada_w2_b": into}
    tensors = {f"{STEM}.{slot}": matrix(chance, *shape) for slot, shape in slots.items()}
    safetensors.write(TensorMap(tensors=tensors, metadata={}), path)
    return path
