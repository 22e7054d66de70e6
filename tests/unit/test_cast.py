"""Rounding to another dtype: every number finite stays finite, or is refused."""

from __future__ import annotations

import math

import pytest
import torch

from lorry.errors import InvalidArgument
from lorry.ir.tensor import TensorRef, torch_dtype
from lorry.ops.writing.cast import cast

DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("shape", [(3, 2), (0, 3)], ids=str)
def test_numbers_round_as_torch_rounds(source: str, target: str, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape)).reshape(shape).float().to(torch_dtype(source))
    assert cast(TensorRef.from_torch(tensor), target).same(TensorRef.from_torch(tensor.to(torch_dtype(target))))


@pytest.mark.parametrize(("target", "large"), [("F16", 7e4), ("F8_E4M3", 1e4), ("F8_E5M2", 7e5), ("F32", 1e39)])
def test_a_number_that_does_not_fit_is_refused(target: str, large: float) -> None:
    with pytest.raises(InvalidArgument, match=f"do not fit {target}"):
        cast(TensorRef.from_torch(torch.tensor([1.0, large], dtype=torch.float64)), target)


@pytest.mark.parametrize("odd", [math.inf, math.nan])
def test_what_was_no_number_stays_none(odd: float) -> None:
    rounded = cast(TensorRef.from_torch(torch.tensor([1.0, odd])), "BF16").torch()
    assert rounded.isfinite().tolist() == [True, False]


def test_a_sum_that_overflows_is_no_number_that_does() -> None:
    tensor = torch.full((4,), 3e38)
    assert cast(TensorRef.from_torch(tensor), "BF16").same(TensorRef.from_torch(tensor.bfloat16()))
