"""Adapters whose bytes are sound and whose numbers, shapes, names or claims are not."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from tests.support.files import KOHYA

from .attack import Attack, Make, Tensors, adapter, doubtful, file_of, header_of, one, opened, refused, sound, unknown

DOWN, UP, ALPHA = f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight", f"{KOHYA}.alpha"

WIDE = 320
"""As the module is in the published models, so that no base is left in doubt by it."""


def lora(**tensors: tuple[tuple[int, ...], float | bytes]) -> dict[str, tuple[tuple[int, ...], float | bytes]]:
    """Return the tensors of one module of rank 2, with some of them replaced."""
    made = {"down": ((2, WIDE), 0.5), "up": ((WIDE, 2), 0.5), "alpha": ((), 2.0), **tensors}
    names = {"down": DOWN, "up": UP, "alpha": ALPHA}
    return {names.get(slot, f"{KOHYA}.{slot}"): each for slot, each in made.items()}


def spelled(stem: str = KOHYA, **slots: tuple[int, ...]) -> Tensors:
    """Return tensors of ones by suffix and shape; __ stands for a dot."""
    return {f"{stem}.{slot.replace('__', '.')}": (shape, 1.0) for slot, shape in slots.items()}


def numbers(dtype: str, bits: bytes, count: int) -> bytes:
    """Build an up of `count` numbers of 0 in a dtype, at rank 256, the last of them given."""
    up = bytes(len(bits) * (count - 1)) + bits
    down = bytes(len(up))
    at = len(down)
    shape = (count // 256, 256)
    entries = ((DOWN, one(dtype, shape[::-1], (0, at))), (UP, one(dtype, shape, (at, 2 * at))))
    return file_of(header_of(*entries), down + up)


def peft_folder(alpha: str, rank: str = "2") -> Make:
    def make(folder: Path) -> Path:
        stem = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        tensors = spelled(stem, lora_A__weight=(2, 640), lora_B__weight=(640, 2))
        (folder / "a").mkdir()
        (folder / "a" / "adapter_model.safetensors").write_bytes(adapter(tensors))
        config = f'{{"peft_type": "LORA", "r": {rank}, "lora_alpha": {alpha}}}'
        (folder / "a" / "adapter_config.json").write_text(config)
        return folder / "a"

    return make


NOT_FINITE: Mapping[str, tuple[str, bytes]] = {
    "NaN of F32": ("F32", struct.pack("<f", math.nan)),
    "infinity of F32": ("F32", struct.pack("<f", math.inf)),
    "minus infinity of F32": ("F32", struct.pack("<f", -math.inf)),
    "a signalling NaN of F32": ("F32", b"\1\0\x80\x7f"),
    "NaN of F64": ("F64", struct.pack("<d", math.nan)),
    "infinity of F16": ("F16", b"\0\x7c"),
    "NaN of F16": ("F16", b"\1\xfc"),
    "infinity of BF16": ("BF16", b"\x80\x7f"),
    "NaN of BF16": ("BF16", b"\xc0\xff"),
    "infinity of F8_E5M2": ("F8_E5M2", b"\x7c"),
    "NaN of F8_E5M2": ("F8_E5M2", b"\xff"),
    "NaN of F8_E4M3": ("F8_E4M3", b"\xff"),
}

FINITE: Mapping[str, tuple[str, bytes]] = {
    "the largest F32": ("F32", b"\xff\xff\x7f\x7f"),
    "the largest F16": ("F16", b"\xff\x7b"),
    "the largest BF16": ("BF16", b"\x7f\xff"),
    "the largest F8_E4M3": ("F8_E4M3", b"\x7e"),
    "the largest F8_E5M2": ("F8_E5M2", b"\x7b"),
}

NAN = ((WIDE, 2), math.nan)
HUGE = 1 << 20

CONTENTS: Mapping[str, Attack] = {
    "a LoRA": sound(adapter(lora())),
    **{name: sound(numbers(dtype, bits, 1 << 16)) for name, (dtype, bits) in FINITE.items()},
    **{name: opened(numbers(dtype, bits, 1 << 16), "NaN or infinity") for name, (dtype, bits) in NOT_FINITE.items()},
    "NaN in a key that nobody reads": opened(adapter({**lora(), "other": ((1,), math.nan)}), "NaN or infinity"),
    "NaN in a learned token": opened(adapter({"emb_params": ((1, 768), math.nan)}), "NaN or infinity"),
    "NaN everywhere": opened(adapter({DOWN: ((2, WIDE), math.nan), UP: NAN}), "NaN or infinity"),
    **refused({
        "an alpha of NaN": (adapter(lora(alpha=((), math.nan))), "alpha is nan"),
        "an alpha of infinity": (adapter(lora(alpha=((), math.inf))), "alpha is inf"),
        "an alpha of two numbers": (adapter(lora(alpha=((2,), 1.0))), "alpha: a single number"),
        "ranks that differ": (adapter(lora(up=((WIDE, 3), 0.5))), "ranks of up and down differ"),
        "a rank of 0": (adapter(lora(up=((WIDE, 0), 0.5), down=((0, WIDE), 0.5))), "the rank is 0"),
        "factors of one axis": (adapter(lora(up=((WIDE,), 0.5))), "make no LoRA"),
        "ranks of a LoHa that differ": (
            adapter(spelled(hada_w1_a=(8, 2), hada_w1_b=(3, 8), hada_w2_a=(8, 2), hada_w2_b=(2, 8))), "make no LoHa"),
        "ranks of a LoKr that differ": (
            adapter(spelled(lokr_w1=(2, 2), lokr_w2_a=(8, 2), lokr_w2_b=(3, 8))), "make no LoKr"),
        "one module under two names": (
            adapter({**lora(), **spelled("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
                                         lora_down__weight=(2, WIDE), lora_up__weight=(WIDE, 2))}),
            "is there under two names",
        ),
        "a LoRA of a trillion numbers": (adapter(lora(up=((HUGE, 2), 1.0), down=((2, HUGE), 1.0))), "more than any"),
        "a LoRA of many large layers": (
            adapter({f"lora_unet_down_blocks_{at % 4}_attentions_{at // 4}_transformer_blocks_0_attn1_to_q.{slot}": each
                     for at in range(130)
                     for slot, each in (("lora_down.weight", ((1, 1 << 14), 1.0)),
                                        ("lora_up.weight", ((1 << 15, 1), 1.0)))}, dtype="F16"),
            "numbers together, more than any model",
        ),
        "a Kronecker product of a trillion numbers": (
            adapter(spelled(lokr_w1=(1 << 10, 1 << 10), lokr_w2=(1 << 10, 1 << 10))),
            "more than any model"),
        "rows of a Kronecker product": (adapter(spelled(lokr_w1=(1, HUGE), lokr_w2=(1, HUGE))), "more than any model"),
        "a LoHa of a trillion numbers": (
            adapter(spelled(hada_w1_a=(HUGE, 1), hada_w1_b=(1, HUGE), hada_w2_a=(HUGE, 1), hada_w2_b=(1, HUGE))),
            "more than any model"),
        "a Tucker core of a trillion numbers": (
            adapter(spelled(lora_mid__weight=(HUGE, 1, 1, 1), lora_down__weight=(1, HUGE, 1, 1),
                            lora_up__weight=(1, HUGE, 1, 1))),
            "more than any model"),
        "a kernel of a million": (
            adapter(spelled(lora_down__weight=(1, 1 << 8, 1 << 10, 1 << 2), lora_up__weight=(1 << 15, 1, 1, 1))),
            "more than any model"),
        "a configuration that is no JSON": (peft_folder("2]"), "adapter_config.json"),
        "a configuration with an alpha of infinity": (peft_folder("1e999"), "lora_alpha is inf"),
        "a configuration with an alpha of text": (peft_folder('"2"'), "alpha"),
    }),
    "an alpha of 1e30": opened(adapter(lora(alpha=((), 1e30))), "makes no sense"),
    "an alpha of minus a million": opened(adapter(lora(alpha=((), -1e6))), "makes no sense"),
    "an alpha of 1e30 in a configuration": opened(peft_folder("1e30"), "makes no sense"),
    "an alpha of a hundred times the rank": doubtful(adapter(lora(alpha=((), 200.0))), "a scale of 100 is doubtful"),
    "an alpha below 0": doubtful(adapter(lora(alpha=((), -2.0))), "turns it round"),
    "an alpha of 0": doubtful(adapter(lora(alpha=((), 0.0))), "read as the rank"),
    "an alpha of 0 in a configuration": doubtful(peft_folder("0"), "its scale is 0"),
    "a key that nobody reads": doubtful(adapter({**lora(), "strange": ((1,), 1.0)}), "not understood"),
    "mostly keys that nobody reads": opened(
        adapter({**lora(), **{f"strange.{at}": ((1, 2, 3), 1.0) for at in range(9)}}), "9 keys are not understood, 3"),
    "an empty token": opened(adapter({"emb_params": ((0, 768), 0.0)}), "holds no numbers"),
    "a false base": doubtful(adapter(lora(), {"ss_base_model_version": "flux1"}), "the header says flux1"),
    "a false hash": doubtful(adapter(lora(), {"sshs_model_hash": "0" * 64}), "the header says 0000"),
    "nothing": unknown(file_of(b"{}"), "holds no tensors"),
    "another model": unknown(adapter({"conv.weight": ((2, 2, 3, 3), 1.0)}), "no adapter"),
    "a picture": unknown(b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG picture"),
    "noise": unknown(bytes(range(255, 0, -1)), "no container"),
    "a path for a key": unknown(adapter({"../../etc/passwd": ((2, 2, 3, 3), 1.0)}), "no adapter"),
    "a hostile configuration in the header": Attack(
        adapter(spelled("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                        lora_A__weight=(2, 8), lora_B__weight=(8, 2)), {"lora_adapter_metadata": "[" * 100_000}),
        "lora_adapter_metadata",
    ),
    "numbers of a configuration that overflow": Attack(
        adapter(spelled("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                        lora_A__weight=(2, 8), lora_B__weight=(8, 2)),
                {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1e30, "unet.r": 2})}),
        "makes no sense", error=None,
    ),
}  # fmt: skip
