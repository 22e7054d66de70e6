"""Learned weights against least squares on whole matrices, and recovered where the target is a sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import lorry
from lorry.compose.solve import solve
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.merging.selection import to_text

HERE = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
THERE = HERE._replace(name=HERE.name.replace("to_q", "to_k"))

SOME = settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


def layer(seed: int, kind: str = "lora") -> Layer:
    generator = torch.Generator().manual_seed(seed)
    down, up = torch.randn(2, 7, generator=generator), torch.randn(5, 2, generator=generator)
    if kind == "diff":
        return Layer(kind="diff", slots={"diff": TensorRef.from_torch(up @ down)})
    return Layer(kind="lora", slots={"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}, scale=0.5)


def adapter(seed: int, kind: str = "lora") -> Adapter:
    return Adapter(base="sd1", layers={HERE: (layer(seed, kind),), THERE: (layer(seed + 500, kind),)})


def matrix(found: Adapter, path: ModulePath) -> Tensor:
    (one,) = found.layers[path]
    if one.kind == "diff":
        return one.slots["diff"].torch().double()
    return one.scale * one.slots["up"].torch().double() @ one.slots["down"].torch().double()


@SOME
@given(weights=st.lists(st.floats(-2, 2), min_size=1, max_size=3), kind=st.sampled_from(["lora", "diff"]))
def test_the_weights_of_a_sum_are_found_again(weights: list[float], kind: str) -> None:
    adapters = [adapter(at, kind if at else "lora") for at in range(len(weights))]
    target = lorry.merge(list(zip(adapters, weights, strict=True)))
    if not target.layers:
        return
    for by_layer in (False, True):
        found = solve(adapters, target, by_layer=by_layer)
        assert found.error < 1e-5
        for weight, learned in zip(weights, found.weights, strict=True):
            assert learned == pytest.approx(dict.fromkeys(learned, weight), abs=1e-5)


@SOME
@given(seed=st.integers(0, 99), inputs=st.booleans())
def test_they_are_least_squares(seed: int, inputs: bool) -> None:
    adapters, target = [adapter(seed), adapter(seed + 1, "diff")], adapter(seed + 2)
    given_ = {path: torch.randn(11, 7, generator=torch.Generator().manual_seed(seed)) for path in (HERE, THERE)}

    def seen(found: Adapter, path: ModulePath) -> Tensor:
        return (matrix(found, path) @ given_[path].double().T if inputs else matrix(found, path)).flatten()

    together = torch.cat([torch.stack([seen(each, path) for each in adapters], 1) for path in (HERE, THERE)])
    wanted = torch.cat([seen(target, path) for path in (HERE, THERE)])
    best = torch.linalg.lstsq(together, wanted[:, None]).solution[:, 0]
    found = solve(adapters, target, activations=given_ if inputs else None)
    assert [each[HERE] for each in found.weights] == pytest.approx(best.tolist(), rel=1e-5, abs=1e-7)
    assert found.error == pytest.approx(float((together @ best - wanted).norm() / wanted.norm()))
    layered = solve(adapters, target, activations=given_ if inputs else None, by_layer=True)
    assert layered.error <= found.error + 1e-9


def test_an_adapter_given_twice_shares_its_weight_and_ridge_holds_back() -> None:
    one = adapter(1)
    twice = solve([one, one], one)
    assert [each[HERE] for each in twice.weights] == pytest.approx([0.5, 0.5])
    assert solve([one], one, ridge=1.0).weights[0][HERE] == pytest.approx(0.5)


def test_learned_weights_are_weights_of_a_merge() -> None:
    adapters, target = [adapter(1), adapter(2)], lorry.merge([(adapter(1), 0.3), (adapter(2), -0.7)])
    found = solve(adapters, target, by_layer=True)
    for weights in (found.selections, [to_text(each) for each in found.weights]):
        assert lorry.diff(lorry.merge(adapters, weights=weights), target).error < 1e-5


def test_where_only_one_has_a_layer() -> None:
    alone = Adapter(base="sd1", layers={HERE: (layer(1),)})
    found = solve([alone, adapter(2)], alone, by_layer=True)
    assert found.weights[0] == pytest.approx({HERE: 1.0, THERE: 0.0}, abs=1e-9)
    assert found.errors == pytest.approx({HERE: 0.0, THERE: 0.0}, abs=1e-6)


def test_what_makes_no_sense_is_refused() -> None:
    one = adapter(1)
    for adapters, ridge in (([], 0.0), ([one], -1.0), ([one], float("nan"))):
        with pytest.raises(InvalidArgument, match="no negative ridge"):
            solve(adapters, one, ridge=ridge)
    with pytest.raises(Incompatible, match="different bases"):
        solve([one], Adapter(base="sdxl"))
    with pytest.raises(InvalidArgument, match=r"\(samples, 7\)"):
        solve([one], one, activations={HERE: torch.zeros(3, 6)})
    with pytest.raises(Incompatible, match="no module in common"):
        solve([one], one, activations={})
