"""Adapters for the benchmarks, of the names and shapes that trainers write; without torch, so that it stays small.

python benchmarks/adapters.py sdxl RANK FILE          a kohya LoRA on the 722 linear layers of SDXL's UNet
python benchmarks/adapters.py many COUNT FOLDER       as many LoRAs of 11 MB on Stable Diffusion 1 (264 layers)
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

Module = tuple[str, int, int, bool]
"""A kohya name, the width of the input, that of the output, and whether it is a convolution."""

SDXL = {"down_blocks_1": (2, 2, 640), "down_blocks_2": (2, 10, 1280), "mid_block": (1, 10, 1280),
        "up_blocks_0": (3, 10, 1280), "up_blocks_1": (3, 2, 640)}  # fmt: skip
"""Transformers, their blocks and the width of each part."""

SD1 = {**{f"down_blocks_{at}": (2, 1, 320 << at) for at in range(3)}, "mid_block": (1, 1, 1280),
       **{f"up_blocks_{at}": (3, 1, 320 << 3 - at) for at in range(1, 4)}}  # fmt: skip


_ONE = struct.pack("<e", 1.0)
"""Alpha, in float16."""

_PERIOD = 2 * 32749
"""The noise repeats after so many bytes: twice a prime, so that tensors of one shape differ."""


def sdxl() -> Iterator[Module]:
    """Yield the 722 linear layers of SDXL's UNet that kohya trains."""
    yield from _unet(SDXL, context=2048, conv=False)


def sd1() -> Iterator[Module]:
    """Yield the 192 layers of the UNet and the 72 of the text encoder that kohya trains."""
    yield from _unet(SD1, context=768, conv=True)
    for layer in range(12):
        stem = f"lora_te_text_model_encoder_layers_{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{stem}_self_attn_{name}", 768, 768, False
        yield f"{stem}_mlp_fc1", 768, 3072, False
        yield f"{stem}_mlp_fc2", 3072, 768, False


def _unet(parts: dict[str, tuple[int, int, int]], context: int, *, conv: bool) -> Iterator[Module]:
    for part, (transformers, blocks, width) in parts.items():
        for number in range(transformers):
            stem = f"lora_unet_{part}_attentions_{number}"
            yield f"{stem}_proj_in", width, width, conv
            for block in range(blocks):
                inner = f"{stem}_transformer_blocks_{block}"
                for attention, source in (("attn1", width), ("attn2", context)):
                    yield f"{inner}_{attention}_to_q", width, width, False
                    yield f"{inner}_{attention}_to_k", source, width, False
                    yield f"{inner}_{attention}_to_v", source, width, False
                    yield f"{inner}_{attention}_to_out_0", width, width, False
                yield f"{inner}_ff_net_0_proj", width, 8 * width, False
                yield f"{inner}_ff_net_2", 4 * width, width, False
            yield f"{stem}_proj_out", width, width, conv


def write(path: Path, modules: Iterator[Module], rank: int, seed: int = 0) -> None:
    """Write a LoRA of random float16 numbers below 1, with alpha 1 and the header a trainer writes."""
    header: dict[str, object] = {
        "__metadata__": {"ss_network_dim": str(rank), "ss_network_alpha": "1.0", "ss_output_name": f"adapter-{seed}"}
    }
    places: list[tuple[int, int]] = []
    at = 0
    for name, width, height, conv in modules:
        kernel = [1, 1] if conv else []
        shapes = {"alpha": [], "lora_down.weight": [rank, width, *kernel], "lora_up.weight": [height, rank, *kernel]}
        for suffix, shape in shapes.items():
            size = len(_ONE) * math.prod(shape)
            header[f"{name}.{suffix}"] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
            places.append((at, size))
            at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = bytes(byte & (0x3B if odd & 1 else 0xFF) for odd, byte in enumerate(os.urandom(_PERIOD)))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for at, size in places:
            shift = at % _PERIOD
            file.write(_ONE if size == len(_ONE) else (noise * (size // _PERIOD + 2))[shift : shift + size])


def main(what: str, number: str, place: str) -> None:
    """Make what is asked for."""
    if what == "sdxl":
        write(Path(place), sdxl(), int(number))
    else:
        Path(place).mkdir()
        for seed in range(int(number)):
            write(Path(place, f"{seed:04}.safetensors"), sd1(), 9, seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
