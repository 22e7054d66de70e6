"""Rounding stored tensors to another dtype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument
from lorry.ir.tensor import TensorRef, require_torch, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor


def cast(ref: TensorRef, dtype: str) -> TensorRef:
    """Round a floating-point tensor to `dtype`; numbers alone (alpha) and integers stay as they are.

    Raises InvalidArgument where a number is too large for `dtype`.
    """
    if ref.numel == 1 or not ref.dtype.startswith(("F", "BF")) or ref.dtype == dtype:
        return ref
    require_torch("rounding to another dtype")
    import torch

    wide = ref.torch()
    rounded = wide.to(torch_dtype(dtype))
    if not (_sums(rounded) or torch.equal(_finite(rounded), _finite(wide))) or _clamped(wide, rounded):
        largest = float(wide.float().abs().max())
        raise InvalidArgument(f"numbers up to {largest:.3g} do not fit {dtype}; choose BF16 or F32")
    return TensorRef.from_torch(rounded)


def _sums(tensor: Tensor) -> bool:
    """Tell whether the sum is finite: then so is every number, and it takes a tenth of the time of asking each."""
    import torch

    return math.isfinite(float(tensor.sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)))


def _clamped(wide: Tensor, rounded: Tensor) -> bool:
    """Tell whether torch made a number smaller that is beyond a float8, where it does not make it infinite."""
    import torch

    if rounded.element_size() > 1 or not rounded.numel():
        return False
    limits = torch.finfo(rounded.dtype)
    return float(wide.float().nan_to_num(0.0, 0.0, 0.0).abs().max()) > limits.max * (1 + limits.eps / 2)


def _finite(tensor: Tensor) -> Tensor:
    return (tensor if tensor.element_size() > 1 else tensor.float()).isfinite()  # torch does not ask that of float8
