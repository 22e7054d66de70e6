"""Merging and baking on every base and every kind with factors: linear, in any order, and exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import lorry
from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ir import Adapter, Layer, ModulePath, TensorRef, Token
from lorry.ops.reading.names import OWN
from lorry.plugin import Factors, Kind
from lorry.plugin.host import host
from lorry.testing.strategies import adapters
from lorry.testing.tables import base_under, ruled_out, views

FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate])

CASES = [
    pytest.param(model.id, kind.name, id=f"{model.id}-{kind.name}")
    for model in host().base_models().values()
    for kind in host().kinds().values()
    if kind.build
]
WEIGHTS = st.sampled_from([1.0, 0.7, -0.5, 0.0, 3.0])

Deltas = Mapping[ModulePath, torch.Tensor]


def drawn(data: st.DataObject, base: str, kind: str, count: int) -> list[Adapter]:
    """Draw adapters of one size for few modules, so that they often meet on one."""
    model = host().base_models()[base]
    component = model.components[0]
    known = [view.parts for view in views(component, OWN) if not ruled_out(model, component.name, view.parts[0])][:6]
    size = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 6)))
    strategy = adapters(model, {component.name: known}, host().kinds()[kind], size=size, last=1)
    return [data.draw(strategy) for _ in range(count)]


def kind_of(layer: Layer) -> Kind:
    return host().kinds()[layer.kind]


def deltas(*pairs: tuple[Adapter, float]) -> Deltas:
    """Reckon Σ wᵢ·ΔWᵢ in float64, the plainest way there is."""
    total: defaultdict[ModulePath, torch.Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    for adapter, weight in pairs:
        for path, layers in adapter.layers.items():
            for layer in layers:
                factors = kind_of(layer).factors
                assert factors is not None
                down, up = factors(layer)
                total[path] = total[path] + weight * layer.scale * (up.double() @ down.double())
    return total


def assert_close(got: Deltas, want: Deltas, tolerance: float) -> None:
    assert got.keys() == want.keys()
    for path, expected in want.items():
        torch.testing.assert_close(got[path], expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize(("base", "kind"), CASES)
@FEW
@given(data=st.data(), weights=st.lists(WEIGHTS, min_size=3, max_size=3))
def test_sum_is_exactly_the_weighted_sum(base: str, kind: str, data: st.DataObject, weights: list[float]) -> None:
    pairs = list(zip(drawn(data, base, kind, 3), weights, strict=True))
    assert_close(deltas((lorry.merge(pairs), 1.0)), deltas(*(pair for pair in pairs if pair[1])), 1e-6)


@pytest.mark.parametrize(("base", "kind"), CASES)
@FEW
@given(data=st.data(), weights=st.lists(WEIGHTS, min_size=2, max_size=2))
def test_baking_a_merge_is_baking_the_list_in_any_order(
    base: str, kind: str, data: st.DataObject, weights: list[float]
) -> None:
    pairs = list(zip(drawn(data, base, kind, 2), weights, strict=True))
    under = base_under(*(adapter for adapter, _ in pairs))
    listed = dict(lorry.bake(under, pairs))
    for other in (lorry.bake(under, [lorry.merge(pairs)]), lorry.bake(under, pairs[::-1])):
        assert list(other) == list(listed)
        for name, tensor in other.items():
            torch.testing.assert_close(tensor, listed[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_baked_weights_are_rounded_once_to_the_bases_own_dtype(dtype: torch.dtype) -> None:
    one, two = adapter_of(seed=1), adapter_of(seed=2)
    under = base_under(one, dtype=dtype)
    ((name, ref),) = under.tensors.items()
    change = deltas((one, 0.3), (two, -0.6))[PATH].float()
    baked = lorry.bake(under, [(one, 0.3), (two, -0.6)])[name]
    assert baked.dtype == dtype
    wanted = ref.torch().float() + change
    step = torch.finfo(dtype).eps * wanted.abs() / 2
    assert bool(((baked.double() - wanted.double()).abs() <= step + 1e-6).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_strength_nought_is_the_base_bit_for_bit(dtype: torch.dtype) -> None:
    adapter = adapter_of()
    under = base_under(adapter, dtype=dtype)
    ((name, ref),) = under.tensors.items()
    assert torch.equal(lorry.bake(under, [(adapter, 0.0)])[name], ref.torch())
    assert torch.equal(lorry.bake(under, [])[name], ref.torch())


PATH = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")


def adapter_of(rows: int = 4, width: int = 5, base: str = "sd1", seed: int = 0, **tokens: float) -> Adapter:
    kind = host().kinds()["lora"]
    generator = torch.Generator().manual_seed(seed)
    made = Factors(torch.randn(2, width, generator=generator), torch.randn(rows, 2, generator=generator))
    assert kind.build is not None
    vectors = {text: {"text_encoder": TensorRef.from_torch(torch.full((1, 8), each))} for text, each in tokens.items()}
    return Adapter(
        base=base,
        layers={PATH: (kind.build(made, (rows, width)),)},
        tokens={text: Token(text=text, vectors=each) for text, each in vectors.items()},
    )


def test_several_layers_on_one_path_all_count() -> None:
    one, two = adapter_of(seed=1), adapter_of(seed=2)
    both = Adapter(base="sd1", layers={PATH: (*one.layers[PATH], *two.layers[PATH])})
    wanted = deltas((one, 1.0), (two, 1.0))
    assert_close(deltas((both, 1.0)), wanted, 1e-6)
    assert_close(deltas((lorry.merge([both]), 1.0)), wanted, 1e-6)
    assert lorry.diff(both, lorry.merge([one, two])).error < 1e-6
    under = base_under(both)
    ((name, ref),) = under.tensors.items()
    torch.testing.assert_close(lorry.bake(under, [both])[name], ref.torch() + wanted[PATH].float())


def test_several_layers_on_one_path_must_fit_one_weight() -> None:
    both = Adapter(base="sd1", layers={PATH: (*adapter_of(rows=6).layers[PATH], *adapter_of().layers[PATH])})
    with pytest.raises(Incompatible, match=r"attn1\.to_q"):
        lorry.bake(base_under(adapter_of()), [both])
    with pytest.raises(Incompatible):
        lorry.merge([both, adapter_of()])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (adapter_of(rows=6), "models of different sizes"),
        (adapter_of(width=6), "models of different sizes"),
        (adapter_of(base="sdxl"), "different bases: sd1, sdxl"),
    ],
)
def test_what_does_not_go_together_is_not_merged(other: Adapter, says: str) -> None:
    with pytest.raises(Incompatible, match=says):
        lorry.merge([adapter_of(), other])


def test_tokens_are_taken_over_and_must_agree() -> None:
    merged = lorry.merge([(adapter_of(cat=1.0), 0.5), (adapter_of(cat=1.0, dog=2.0), 0.5)])
    assert set(merged.tokens) == {"cat", "dog"}
    assert merged.tokens["cat"].vectors["text_encoder"].torch().unique().item() == 1.0
    with pytest.raises(Conflict, match="'cat'"):
        lorry.merge([adapter_of(cat=1.0), adapter_of(cat=2.0)])


def test_nothing_is_not_merged() -> None:
    with pytest.raises(InvalidArgument, match="nothing to merge"):
        lorry.merge([])
