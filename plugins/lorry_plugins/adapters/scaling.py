"""Numbers multiplied into a stored tensor, without losing any of them."""

from __future__ import annotations

from lorry.ir import TensorRef
from lorry.ir.tensor import require_torch


def scaled(ref: TensorRef, factor: float) -> TensorRef:
    """Return factor · ref, in the dtype it is stored in if every number survives that, else in float32 or wider."""
    if factor == 1:
        return ref
    require_torch("folding a scale into a tensor")
    import torch

    value = ref.torch()
    wide = value.to(torch.float64 if value.dtype == torch.float64 else torch.float32) * factor
    narrow = wide.to(value.dtype)
    return TensorRef.from_torch(narrow if torch.equal(narrow.to(wide.dtype), wide) else wide)
