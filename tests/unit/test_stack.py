"""Several layers made into one: the delta is the weighted sum, and dtypes are kept where that loses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir import Layer, TensorRef
from lorry.ops.writing.stack import flattened, folded, stack
from lorry_plugins.adapters.lora import LORA


def lora(rank: int, scale: float = 1.0, dtype: torch.dtype = torch.float32, kernel: tuple[int, ...] = ()) -> Layer:
    down, up = torch.randn(rank, 3, *kernel), torch.randn(4, rank, *(1 for _ in kernel))
    slots = {"down": TensorRef.from_torch(down.to(dtype)), "up": TensorRef.from_torch(up.to(dtype))}
    return Layer(kind="lora", slots=slots, scale=scale)


def tucker() -> Layer:
    made = {"down": torch.randn(2, 3, 1, 1), "mid": torch.randn(5, 2, 3, 3), "up": torch.randn(4, 5, 1, 1)}
    return Layer(kind="lora", slots={name: TensorRef.from_torch(each) for name, each in made.items()}, scale=0.5)


def delta(layer: Layer) -> torch.Tensor:
    assert LORA.factors is not None
    down, up = LORA.factors(layer)
    return layer.scale * (up.double() @ down.double())


@settings(deadline=None)
@given(
    drawn=st.lists(
        st.tuples(
            st.integers(1, 4),
            st.sampled_from([1.0, -0.5, 0.0, 3.3]),
            st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
            st.sampled_from([1.0, 0.7, -1.0, 0.0]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_delta_is_the_weighted_sum(drawn: list[tuple[int, float, torch.dtype, float]]) -> None:
    layers = [(lora(rank, scale, dtype), weight) for rank, scale, dtype, weight in drawn]
    wanted = sum((weight * delta(layer) for layer, weight in layers), torch.zeros(4, 3, dtype=torch.float64))
    torch.testing.assert_close(delta(stack(layers, LORA)), wanted, rtol=1e-6, atol=1e-5)


def test_ranks_add_up_and_convolutions_stay_convolutions() -> None:
    made = stack([(lora(1, kernel=(3, 3)), 1.0), (lora(2, kernel=(3, 3)), 1.0)], LORA)
    assert made.slots["down"].shape == (3, 3, 3, 3)
    assert made.slots["up"].shape == (4, 3, 1, 1)


@pytest.mark.parametrize(("weights", "dtype"), [((1.0, -2.0), "BF16"), ((1.0, 0.7), "F32")])
def test_the_dtype_is_kept_exactly_where_no_number_is_rounded(weights: tuple[float, float], dtype: str) -> None:
    layers = [lora(1, dtype=torch.bfloat16), lora(2, dtype=torch.bfloat16)]
    made = stack(list(zip(layers, weights, strict=True)), LORA)
    assert {ref.dtype for ref in made.slots.values()} == {dtype}


def test_one_layer_keeps_its_bytes_and_takes_the_weight_into_its_scale() -> None:
    layer = lora(2, scale=0.5, dtype=torch.float8_e4m3fn)
    made = stack([(layer, 3.0)], LORA)
    assert made == replace(layer, scale=1.5)


def test_layers_for_weights_of_unequal_shapes_are_refused() -> None:
    with pytest.raises(Incompatible, match="unequal shapes"):
        stack([(lora(1, kernel=(1, 1)), 1.0), (lora(1), 1.0)], LORA)


def test_a_kind_without_factors_is_refused_by_name() -> None:
    with pytest.raises(Incompatible, match="kind lora have no factors"):
        stack([(lora(1), 1.0), (lora(1), 1.0)], replace(LORA, factors=None))


def test_a_tucker_core_is_multiplied_out_at_the_same_scale() -> None:
    layer = tucker()
    plain = flattened(layer, LORA)
    assert (set(plain.slots), plain.scale) == ({"down", "up"}, 0.5)
    torch.testing.assert_close(delta(plain), delta(layer))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_outgrows_float32_is_refused(dtype: torch.dtype) -> None:
    layer = lora(2, dtype=dtype)
    with pytest.raises(InvalidArgument, match="outgrows float32"):
        stack([(layer, 1e300), (layer, 1.0)], LORA)
    with pytest.raises(InvalidArgument, match="outgrows float32"):
        folded(replace(layer, scale=1e300), LORA)
