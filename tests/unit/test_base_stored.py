"""One stored tensor and ours in it: `join` undoes `cut`, byte for byte."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorry.errors import InvalidArgument, InvalidFile
from lorry.ir import TensorRef
from lorry.ops.bases.stored import Stored
from lorry.ops.reading.names import Target

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float8_e4m3fn)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def stored(
    *parts: str, rows: tuple[int, ...] = (1,), flip: bool = False, transposed: bool = False, conv: bool = False
) -> Stored:
    return Stored(parts, Target("x", parts, rows, flip, transposed=transposed, conv=conv))


@given(
    unit=st.integers(1, 3),
    shares=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    columns=st.integers(0, 4),
    how=st.sampled_from(["plain", "matrix", "conv"]),
    dtype=st.sampled_from(DTYPES),
)
def test_cutting_and_joining_gives_the_bytes_back(
    unit: int, shares: list[int], columns: int, how: str, dtype: torch.dtype
) -> None:
    whole = len(shares) == 1
    names = (f"p{at}" for at in range(len(shares)))
    held = stored(*names, rows=tuple(shares), transposed=whole and how == "matrix", conv=whole and how == "conv")
    matrix = numbers(unit * sum(shares), columns, dtype=dtype)
    ref = TensorRef.from_torch(matrix[..., None, None] if whole and how == "conv" else matrix)
    parts = held.cut(ref)
    assert len(parts) == len(shares)
    assert held.join(parts).same(ref)


def test_parts_are_the_rows_they_should_be() -> None:
    tensor = numbers(14, 3)
    parts = stored("q", "k", "v", "mlp", rows=(1, 1, 1, 4)).cut(TensorRef.from_torch(tensor))
    for part, wanted in zip(parts, torch.split(tensor, [2, 2, 2, 8]), strict=True):
        assert torch.equal(part.torch(), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_transposed_matrix_has_its_axes_changed_in_any_dtype(dtype: torch.dtype) -> None:
    tensor = numbers(5, 3, dtype=dtype)
    (part,) = stored("p", transposed=True).cut(TensorRef.from_torch(tensor))
    assert torch.equal(part.torch().float(), tensor.T.float())
    assert torch.equal(part.rows(1, 2).torch().float(), tensor.T[1:2].float())


def test_halves_change_places() -> None:
    (part,) = stored("p", flip=True).cut(TensorRef.from_torch(torch.arange(6.0)))
    assert part.torch().tolist() == [3, 4, 5, 0, 1, 2]


def test_a_linear_layer_is_read_where_a_convolution_is_usual() -> None:
    matrix = TensorRef.from_torch(numbers(4, 4))
    assert stored("p", conv=True).cut(matrix) == (matrix,)


@pytest.mark.parametrize(
    ("held", "shape"),
    [
        (stored("q", "k", "v", rows=(1, 1, 1)), (4, 2)),
        (stored("q", "k", "v", rows=(1, 1, 1)), ()),
        (stored("p", flip=True), (3,)),
    ],
)
def test_rows_that_do_not_divide_are_refused(held: Stored, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidFile, match="does not divide"):
        held.cut(TensorRef.from_torch(numbers(*shape)))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_only_a_matrix_is_transposed(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="no matrix"):
        TensorRef.from_torch(numbers(*shape)).transpose()
