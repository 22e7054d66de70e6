"""Tensor references: views that never read, and single numbers without torch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorry.errors import InvalidArgument
from lorry.ir.file_source import FileSource
from lorry.ir.tensor import (
    BITS,
    Segment,
    TensorRef,
    decode_scalar,
    encode_scalar,
    from_bytes,
    from_scalar,
    scalars,
    zeros,
)

TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64,
    "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NO_TORCH = {"F6_E2M3", "F6_E3M2", "F4"}


def counting(*shape: int) -> TensorRef:
    return TensorRef.from_torch(torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape))


class Unreadable:
    """A source that no view may touch."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        raise AssertionError(start, len(buffer))


def test_each_dtype_has_a_torch_name_or_is_refused() -> None:
    assert TORCH_DTYPES.keys() | NO_TORCH == BITS.keys()
    for dtype in NO_TORCH:
        with pytest.raises(InvalidArgument, match=f"no dtype for {dtype}"):
            zeros(dtype, (8,)).torch()


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3, 4)])
def test_torch_and_back_is_the_same(dtype: str, shape: tuple[int, ...]) -> None:
    size = math.prod(shape) * BITS[dtype] // 8
    ref = from_bytes(dtype, shape, bytes(each % 2 for each in range(size)))

    tensor = ref.torch()

    assert (tensor.dtype, tuple(tensor.shape)) == (TORCH_DTYPES[dtype], shape)
    assert TensorRef.from_torch(tensor).same(ref)


def test_torch_hands_out_a_copy_of_its_own() -> None:
    ref = counting(4)
    ref.torch().fill_(7)
    assert ref.torch().tolist() == [0, 1, 2, 3]


def test_torch_converts_to_the_dtype_asked_for() -> None:
    assert counting(2).torch(dtype=torch.float16).dtype == torch.float16


def test_a_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="complex128"):
        TensorRef.from_torch(torch.zeros(1, dtype=torch.complex128))


@given(rows=st.integers(0, 5), cols=st.integers(1, 5), inner=st.integers(0, 3), data=st.data())
def test_rows_and_columns_are_torch_slices(rows: int, cols: int, inner: int, data: st.DataObject) -> None:
    ref = counting(rows, cols, inner)
    whole = ref.torch()
    top, left = data.draw(st.integers(0, rows)), data.draw(st.integers(0, cols))
    bottom, right = data.draw(st.integers(top, rows)), data.draw(st.integers(left, cols))

    assert torch.equal(ref.rows(top, bottom).torch(), whole[top:bottom])
    assert torch.equal(ref.cols(left, right).torch(), whole[:, left:right])
    assert torch.equal(ref.cols(left, right).rows(top, bottom).torch(), whole[top:bottom, left:right])


@given(heights=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_cat_is_torch_cat_and_undone_by_rows(heights: list[int]) -> None:
    parts = [counting(height, 3) for height in heights]
    joined = TensorRef.cat(parts)
    assert torch.equal(joined.torch(), torch.cat([part.torch() for part in parts]))
    at = 0
    for part in parts:
        assert joined.rows(at, at + part.shape[0]).same(part)
        at += part.shape[0]


def test_neighbouring_rows_join_to_one_range() -> None:
    ref = counting(6, 2)
    assert TensorRef.cat([ref.rows(0, 2), ref.rows(2, 5), ref.rows(5, 6)]) == ref


def test_views_do_not_read() -> None:
    whole = counting(4, 4)
    ref = TensorRef("F32", (4, 4), tuple(part._replace(source=Unreadable()) for part in whole.segments))
    view = TensorRef.cat([ref.rows(1, 2), ref.cols(0, 4).rows(0, 1)]).reshape(2, 2, 2)
    assert view.same(view)


@pytest.mark.parametrize("wrong", [(-1, 2), (2, 1), (0, 5)])
def test_slices_outside_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(InvalidArgument, match="not within"):
        counting(4, 4).rows(*wrong)
    with pytest.raises(InvalidArgument, match="not within"):
        counting(4, 4).cols(*wrong)


def test_slices_that_cut_a_byte_are_refused() -> None:
    half = from_bytes("F4", (2, 3), bytes(3))
    with pytest.raises(InvalidArgument, match="cut a byte"):
        half.rows(0, 1)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="end to end"):
        TensorRef.cat([counting(2, 3), counting(2, 4)])
    with pytest.raises(InvalidArgument, match="cannot be viewed"):
        counting(2, 3).reshape(4, 2)
    with pytest.raises(InvalidArgument, match="single number"):
        counting(2).item()


def test_same_compares_dtype_shape_and_bytes() -> None:
    ref = counting(2, 2)
    assert ref.same(counting(2, 2))
    assert not ref.same(counting(4))
    assert not ref.same(zeros("F32", (2, 2)))
    assert not zeros("F32", (2,)).same(zeros("I32", (2,)))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_each_float8_reads_as_in_torch(dtype: str) -> None:
    everything = from_bytes(dtype, (256,), bytes(range(256)))
    wanted = everything.torch().to(torch.float64).tolist()
    got = [decode_scalar(dtype, bytes([each])) for each in range(256)]
    assert str(got) == str(wanted)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@given(value=st.floats(width=32, allow_subnormal=False))
def test_numbers_round_as_in_torch(dtype: str, value: float) -> None:
    wanted = torch.tensor(value, dtype=torch.float64).to(torch.float32).to(TORCH_DTYPES[dtype])
    if math.isfinite(value) and math.isinf(wanted.item()) and dtype == "F16":
        with pytest.raises(InvalidArgument, match="cannot be written as F16"):
            encode_scalar(dtype, value)
    else:
        assert str(from_scalar(value, dtype).item()) == str(wanted.item())


@pytest.mark.parametrize("dtype", ["I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"])
def test_whole_numbers_are_kept(dtype: str) -> None:
    assert from_scalar(1, dtype).item() == 1
    assert from_scalar(1, dtype, (1,)).shape == (1,)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("I8", 300), ("U8", -1), ("I32", 0.5), ("I32", math.nan), ("I32", math.inf), ("BOOL", 2), ("F32", 1e39),
     ("BF16", 1e39), ("F8_E4M3", 1.0)],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(dtype: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=f"cannot be written as {dtype}"):
        encode_scalar(dtype, value)


@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES.keys() - {"F8_E8M0"}))
def test_zeros_are_zero(dtype: str) -> None:
    assert not zeros(dtype, (3,)).torch().to(torch.complex64).any()


def test_a_dtype_without_zero_has_no_zeros() -> None:
    with pytest.raises(InvalidArgument, match="no zero"):
        zeros("F8_E8M0", (3,))


def test_many_numbers_are_read_in_order_wherever_they_lie(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(encode_scalar("F32", 1.5) + encode_scalar("F32", 2.5))
    second.write_bytes(encode_scalar("F32", 3.5))
    one, other = FileSource.open(first), FileSource.open(second)
    places = [(one, 4), (one, 0), (other, 0), (one, 0)]
    lying = [TensorRef("F32", (), (Segment(source, at, at + 4),)) for source, at in places]
    refs = [*lying[:2], from_scalar(4.0, "F16"), zeros("F32", (2,)), *lying[2:], zeros("F32", (0,))]
    found = scalars(refs)
    assert [each for each in found if not isinstance(each, InvalidArgument)] == [2.5, 1.5, 4.0, 3.5, 1.5]
    assert [isinstance(each, InvalidArgument) for each in found] == [False, False, False, True, False, False, True]
