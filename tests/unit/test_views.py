"""Fused modules: cutting is a move of bytes, and joining undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ops.reading.names import Target
from lorry.ops.writing.views import flip, join, split
from lorry_plugins.adapters.lokr import LOKR
from lorry_plugins.adapters.lora import LORA

QKV = Target("qkv", ("q", "k", "v"), (1, 1, 1), flip=False)
LINEAR1 = Target("linear1", ("q", "k", "v", "mlp"), (1, 1, 1, 4), flip=False)
SWAPPED = Target("head", ("norm_out",), (1,), flip=True)
PLAIN = Target("proj", ("to_out",), (1,), flip=False)

DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float64])


def lora(rows: int, rank: int = 2, width: int = 3, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Layer:
    down, up = torch.randn(rank, width).to(dtype), torch.randn(rows, rank).to(dtype)
    return Layer(kind="lora", slots={"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}, scale=scale)


def delta(layer: Layer) -> torch.Tensor:
    down, up = (layer.slots[slot].torch(dtype=torch.float64) for slot in ("down", "up"))
    return layer.scale * (up @ down)


def same_bytes(first: Layer, second: Layer) -> bool:
    return first.slots.keys() == second.slots.keys() and all(
        ref.same(second.slots[slot]) for slot, ref in first.slots.items()
    )


def stacked(parts: Sequence[Layer | None], rows: Sequence[int], width: int = 3) -> torch.Tensor:
    zeros = [torch.zeros(count, width, dtype=torch.float64) for count in rows]
    return torch.cat([none if part is None else delta(part) for part, none in zip(parts, zeros, strict=True)])


@pytest.mark.parametrize("target", [QKV, LINEAR1, SWAPPED, PLAIN], ids=lambda target: target.name)
@given(unit=st.integers(1, 5), dtype=DTYPES, scale=st.floats(-4, 4))
def test_joining_what_was_split_gives_the_same_bytes(
    target: Target, unit: int, dtype: torch.dtype, scale: float
) -> None:
    whole = lora(unit * sum(target.rows) * (2 if target.flip else 1), scale=scale, dtype=dtype)
    back = join(split(whole, LORA, target), LORA, target)
    assert back is not None
    assert same_bytes(back, whole)
    assert back.scale == scale


@pytest.mark.parametrize("target", [QKV, LINEAR1], ids=lambda target: target.name)
def test_the_parts_do_what_their_rows_of_the_whole_did(target: Target) -> None:
    whole = lora(3 * sum(target.rows))
    parts = split(whole, LORA, target)
    assert [part.slots["up"].shape[0] for part in parts] == [3 * share for share in target.rows]
    torch.testing.assert_close(torch.cat([delta(part) for part in parts]), delta(whole), rtol=0, atol=0)


def test_flipping_swaps_the_halves_and_twice_is_nothing() -> None:
    ref = TensorRef.from_torch(torch.arange(8.0).reshape(4, 2))
    assert flip(ref).torch().tolist() == [[4, 5], [6, 7], [0, 1], [2, 3]]
    assert flip(flip(ref)).same(ref)
    (part,) = split(lora(4), LORA, SWAPPED)
    assert join(split(part, LORA, SWAPPED), LORA, SWAPPED) is not None


def test_a_flip_moves_the_rows_of_the_delta_and_nothing_else() -> None:
    whole = lora(6)
    (part,) = split(whole, LORA, SWAPPED)
    torch.testing.assert_close(delta(part), delta(whole).roll(3, 0), rtol=0, atol=0)


@pytest.mark.parametrize(("rows", "target"), [(7, QKV), (8, LINEAR1), (6, LINEAR1), (5, SWAPPED)])
def test_rows_that_do_not_divide_are_an_invalid_file_that_says_so(rows: int, target: Target) -> None:
    with pytest.raises(InvalidFile, match=f"{target.name}: {rows} rows of up do not divide"):
        split(lora(rows), LORA, target)


def test_rows_of_a_layer_that_had_to_be_made_dense_are_told_alike() -> None:
    slots = {"w1": TensorRef.from_torch(torch.randn(2, 2)), "w2": TensorRef.from_torch(torch.randn(4, 2))}
    with pytest.raises(InvalidFile, match="qkv: 8 rows of .* do not divide"):
        split(Layer(kind="lokr", slots=slots), LOKR, QKV)


ODD = st.tuples(st.integers(1, 4), DTYPES, st.sampled_from([1.0, -2.0, 0.0, 0.3, 5.0]))


@pytest.mark.parametrize("target", [QKV, LINEAR1], ids=lambda target: target.name)
@given(unit=st.integers(1, 3), data=st.data())
def test_unequal_parts_are_joined_exactly(target: Target, unit: int, data: st.DataObject) -> None:
    rows = [unit * share for share in target.rows]
    parts = [
        None if odd is None else lora(count, rank=odd[0], dtype=odd[1], scale=odd[2])
        for count in rows
        for odd in [data.draw(st.none() | ODD)]
    ]
    if all(part is None for part in parts):
        parts[0] = lora(rows[0])
    wanted = stacked(parts, rows)
    whole = join(parts, LORA, target)
    assert whole is not None
    torch.testing.assert_close(delta(whole), wanted, rtol=1e-6, atol=1e-6)
    back = split(whole, LORA, target)
    torch.testing.assert_close(stacked(back, rows), wanted, rtol=1e-6, atol=1e-6)


def test_equal_scales_and_dtypes_are_joined_without_touching_a_number() -> None:
    parts = [lora(2, rank=rank, dtype=torch.bfloat16, scale=0.3) for rank in (1, 2, 3)]
    whole = join(parts, LORA, QKV)
    assert whole is not None
    assert (whole.scale, whole.slots["up"].dtype, whole.slots["up"].shape) == (0.3, "BF16", (6, 6))
    torch.testing.assert_close(delta(whole), stacked(parts, [2, 2, 2]), rtol=0, atol=0)


def test_separating_what_was_joined_gives_each_part_its_own_bytes_again() -> None:
    parts = [lora(2, rank=rank) for rank in (1, 2, 3)]
    whole = join(parts, LORA, QKV)
    assert whole is not None
    assert LORA.unjoin is not None
    unjoined = LORA.unjoin(split(whole, LORA, QKV))
    assert unjoined is not None
    assert all(got is not None and same_bytes(got, want) for got, want in zip(unjoined, parts, strict=True))


def test_parts_trained_as_one_are_not_unjoined() -> None:
    assert LORA.unjoin is not None
    assert LORA.unjoin(split(lora(6), LORA, QKV)) is None


@pytest.mark.parametrize(
    ("target", "rows"), [(QKV, (2, 2, 5)), (LINEAR1, (3, 3, 3, 19)), (LINEAR1, (5, 5, 5, 21)), (LINEAR1, (1, 1, 1, 1))]
)
def test_parts_out_of_proportion_are_not_joined_since_they_would_be_cut_elsewhere(
    target: Target, rows: tuple[int, ...]
) -> None:
    assert join([lora(count) for count in rows], LORA, target) is None
    assert join([lora(count, rank=at + 1) for at, count in enumerate(rows)], LORA, target) is None


def test_a_kind_that_cannot_fuse_joins_only_equal_parts() -> None:
    kind = replace(LORA, join=None)
    assert join(split(lora(6), kind, QKV), kind, QKV) is not None
    assert join([lora(2), lora(2), lora(2)], kind, QKV) is None
    assert join([*split(lora(6), kind, QKV)[:2], None], kind, QKV) is None
