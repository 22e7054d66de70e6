"""One changed tensor: the same numbers however it is read, rounded once, and never spoilt."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorry.errors import Incompatible, InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import torch_dtype
from lorry.ops.baking.change import Change
from lorry.plugin.host import host

DTYPES = ["F64", "F32", "F16", "BF16"]


def lora(rows: int, columns: int, rank: int = 3, seed: int = 0, size: float = 0.3) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, columns, generator=generator) * size
    up = torch.randn(rows, rank, generator=generator) * size
    slots = {"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}
    return Layer(kind="lora", slots=slots, scale=0.5)


def dora(rows: int, columns: int) -> Layer:
    """Make a layer of a kind that has no factors: it needs the whole weight."""
    plain = lora(rows, columns)
    magnitude = TensorRef.from_torch(torch.rand(rows, generator=torch.Generator().manual_seed(9)) + 1)
    return Layer(kind="dora", slots={**plain.slots, "magnitude": magnitude}, scale=0.5)


def weight(*shape: int, dtype: str = "F16") -> TensorRef:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    return TensorRef.from_torch(numbers.to(torch_dtype(dtype)))


def change(*layers: tuple[Layer, float]) -> Change:
    return Change("unet.a.weight", layers, host())


def wanted(ref: TensorRef, dtype: str, *layers: tuple[Layer, float]) -> torch.Tensor:
    """W + Σ tᵢ (applyᵢ(W) - W), of the kinds' own definition, in the dtype."""
    pristine = ref.torch(dtype=torch.float32)
    total = ref.torch().double()
    for layer, strength in layers:
        kind = host().kinds()[layer.kind]
        assert kind.apply is not None
        total += strength * (kind.apply(pristine, layer) - pristine).double()
    return total.to(torch_dtype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", DTYPES)
@pytest.mark.parametrize("make", [lora, dora])
def test_numbers_are_those_of_the_definition_rounded_once(make: type, own: str, dtype: str) -> None:
    ref, layers = weight(33, 20, dtype=own), [(make(33, 20), 0.7), (lora(33, 20, rank=2, seed=3), -0.4)]
    made = change(*layers).ref(ref, dtype).torch()
    assert made.dtype == torch_dtype(dtype)
    close = max(torch.finfo(made.dtype).eps, 1e-6)
    torch.testing.assert_close(made, wanted(ref, dtype, *layers), rtol=close, atol=close)


@settings(deadline=None, max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 33 * 20 * 2), max_size=5),
    make=st.sampled_from([lora, dora]),
    dtype=st.sampled_from(DTYPES),
)
def test_any_range_of_bytes_is_a_range_of_the_whole_beyond_rounding(cuts: list[int], make: type, dtype: str) -> None:
    ref = change((make(33, 20), 0.7)).ref(weight(33, 20), dtype)
    whole = ref.torch()
    ends = sorted({0, *(min(cut, ref.nbytes) for cut in cuts), ref.nbytes})
    buffer = bytearray(ref.nbytes)
    for start, stop in itertools.pairwise(ends):
        ref.segments[0].source.read_into(start, memoryview(buffer)[start:stop])
    cut = torch.frombuffer(buffer, dtype=whole.dtype).view(whole.shape)
    close = max(2 * torch.finfo(whole.dtype).eps, 1e-6)
    torch.testing.assert_close(cut, whole, rtol=close, atol=close)
    assert torch.equal(ref.torch(), whole)


def test_the_order_of_adapters_makes_no_difference_beyond_rounding() -> None:
    ref, one, two = weight(33, 20, dtype="F32"), (lora(33, 20), 0.7), (lora(33, 20, seed=4), 0.3)
    torch.testing.assert_close(change(one, two).ref(ref, "F32").torch(), change(two, one).ref(ref, "F32").torch())


def test_strength_zero_changes_no_bit() -> None:
    ref = weight(33, 20)
    assert change((lora(33, 20), 0.0)).ref(ref, "F16").tobytes() == ref.tobytes()


@pytest.mark.parametrize("shape", [(), (5,), (4, 3, 2, 2), (0, 4)])
def test_without_layers_a_tensor_of_any_shape_is_only_rounded(shape: tuple[int, ...]) -> None:
    ref = weight(*shape, dtype="F32")
    assert torch.equal(change().ref(ref, "BF16").torch(), ref.torch().bfloat16())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [lora, dora])
def test_what_is_no_number_in_an_adapter_spoils_nothing(make: type, value: float) -> None:
    layer = make(33, 20)
    down = layer.slots["down"].torch()
    down[1, 2] = value
    spoilt = Layer(kind=layer.kind, slots={**layer.slots, "down": TensorRef.from_torch(down)})
    with pytest.raises(InvalidFile, match=r"unet\.a\.weight holds NaN or infinity"):
        change((spoilt, 1.0)).ref(weight(33, 20), "F16").torch()


def test_a_number_too_large_for_the_dtype_is_said_so() -> None:
    ref, layers = weight(33, 20), (lora(33, 20, size=30), 1000.0)
    with pytest.raises(Incompatible, match=r"float16 ends at 6\.55e\+04; choose BF16"):
        change(layers).ref(ref, "F16").torch()
    assert bool(change(layers).ref(ref, "BF16").torch().isfinite().all())


def test_what_was_no_number_in_the_base_is_its_own_affair() -> None:
    numbers = torch.ones(33, 20)
    numbers[0, 0] = math.nan
    made = change((lora(33, 20), 1.0)).ref(TensorRef.from_torch(numbers), "F32").torch()
    assert int(made.isnan().sum()) == 1
