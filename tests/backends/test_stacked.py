"""Low-rank layers beside a module equal the module with the delta in its weight."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lorry.compose.stacked import StackedLora, Strengths, stackable
from lorry.plugin import Factors

MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 5), (2, 3, 6)),
    "linear without bias": (nn.Linear(6, 5, bias=False), (4, 6)),
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 8)),
    "conv 1x1": (nn.Conv2d(4, 6, 1), (2, 4, 5, 5)),
    "conv strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 9)),
    "conv dilated": (nn.Conv2d(4, 6, 3, dilation=2, padding=2), (1, 4, 9, 9)),
    "conv oblong": (nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 1), bias=False), (1, 4, 8, 7)),
    "conv same": (nn.Conv2d(4, 6, 3, padding="same"), (1, 4, 7, 7)),
    "conv circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (1, 4, 7, 7)),
}


def random_factors(module: nn.Module, rank: int) -> Factors:
    out, *rest = module.get_parameter("weight").shape
    return Factors(torch.randn(rank, torch.Size(rest).numel()), torch.randn(out, rank))


@pytest.mark.parametrize("name", MODULES)
def test_beside_equals_within(name: str) -> None:
    torch.manual_seed(0)
    base, shape = MODULES[name]
    factors = [random_factors(base, rank) for rank in (2, 3)]
    strengths = Strengths(torch.tensor([0, 0, 1, 1, 1]), torch.device("cpu"), torch.float32)
    beside = StackedLora(base, factors, strengths.values)  # type: ignore[arg-type]
    within, x = copy.deepcopy(base), torch.randn(shape)
    strengths.set([0.5, -2.0])
    with torch.no_grad():
        weight = within.get_parameter("weight")
        for (down, up), strength in zip(factors, (0.5, -2.0), strict=True):
            weight.add_((up @ down).reshape(weight.shape), alpha=strength)
        torch.testing.assert_close(beside(x), within(x), rtol=1e-4, atol=1e-4)
        strengths.set([0.0, 0.0])
        assert torch.equal(beside(x), base(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_output_keeps_the_dtype_of_the_base(dtype: torch.dtype) -> None:
    base = nn.Linear(6, 5).to(dtype)
    strengths = Strengths(torch.zeros(2, dtype=torch.int64), torch.device("cpu"), torch.float32)
    beside = StackedLora(base, [random_factors(base, 2)], strengths.values)
    assert beside(torch.randn(3, 6, dtype=dtype)).dtype == dtype


def test_building_draws_nothing_from_the_global_generator() -> None:
    base = nn.Linear(6, 5)
    factors = random_factors(base, 2)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    StackedLora(base, [factors], torch.zeros(2))
    assert torch.equal(torch.rand(3), expected)


def test_grouped_convolution_does_not_stack() -> None:
    assert stackable(nn.Conv2d(4, 4, 3))
    assert not stackable(nn.Conv2d(4, 4, 3, groups=2))
    assert not stackable(nn.Embedding(4, 4))


def test_new_strengths_do_not_compile_again() -> None:
    graphs = 0

    def counted(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    base = nn.Linear(6, 5)
    strengths = Strengths(torch.zeros(2, dtype=torch.int64), torch.device("cpu"), torch.float32)
    compiled = torch.compile(StackedLora(base, [random_factors(base, 2)], strengths.values), backend=counted)
    x = torch.randn(3, 6)
    results = []
    for strength in (0.0, 0.5, 1.0):
        strengths.set([strength])
        results.append(compiled(x))
    assert graphs == 1
    assert torch.allclose(results[1] - results[0], (results[2] - results[0]) / 2, atol=1e-5)
