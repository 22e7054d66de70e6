"""Carriers of quantised weights: recognised by what stands beside the weights. No arithmetic here can use them."""

from __future__ import annotations

from collections.abc import Iterable

_FP8 = "fp8 weights with scales beside them"
_BITS4 = "4-bit weights of bitsandbytes"
_BITS8 = "8-bit weights of bitsandbytes"
_SVDQ = "4-bit weights of SVDQuant"

_MARKS = {
    # ComfyUI: comfy/ops.py (scaled_fp8_ops), comfy/quant_ops.py
    "scaled_fp8": _FP8, "scale_weight": _FP8, "scale_input": _FP8, "weight_scale": _FP8, "input_scale": _FP8,
    "comfy_quant": _FP8,
    # bitsandbytes: functional.py (QuantState.as_dict), nn/modules.py (Linear8bitLt)
    "bitsandbytes__nf4": _BITS4, "bitsandbytes__fp4": _BITS4, "absmax": _BITS4, "quant_map": _BITS4,
    "nested_absmax": _BITS4, "nested_quant_map": _BITS4, "SCB": _BITS8, "weight_format": _BITS8,
    # nunchaku: models/linear.py, both kinds of layers
    "qweight": _SVDQ, "wscales": _SVDQ, "wzeros": _SVDQ, "wtscale": _SVDQ, "wcscales": _SVDQ,
    "smooth_factor": _SVDQ, "smooth_factor_orig": _SVDQ,
}  # fmt: skip
"""Last words of keys that only quantised weights have."""

PLAIN = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Dtypes of weights whose shape is the module's own; that of packed ones says nothing."""


def mark(key: str) -> str:
    """Return what kind of quantised weights a key belongs to, "" for a key of plain ones."""
    return _MARKS.get(key.rpartition(".")[2], "")


def quantised(keys: Iterable[str]) -> str:
    """Return what kind of quantised weights there are among the keys, "" where there are none."""
    return next((what for key in keys if (what := mark(key))), "")
