from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorry.algebra.ranks import kept_energy, relative_error, spread, value_ratio
from lorry.errors import InvalidArgument
from lorry.ops.ranks.aim import rank_aim

VALUES = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
NORM = float(VALUES.norm())

SPECTRA = st.lists(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), min_size=1, max_size=4)


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (16 / 21, 1), (0.77, 2), (20 / 21, 2), (0.96, 3), (1, 3)])
def test_the_smallest_rank_that_keeps_enough(share: float, rank: int) -> None:
    assert kept_energy(share)(VALUES, NORM) == rank
    assert relative_error(max(0.0, 1 - share) ** 0.5)(VALUES, NORM) == rank


@pytest.mark.parametrize(("ratio", "rank"), [(1, 1), (1.9, 1), (2, 2), (100, 3)])
def test_values_above_a_share_of_the_largest(ratio: float, rank: int) -> None:
    assert value_ratio(ratio)(VALUES, NORM) == rank


def best(spectra: list[torch.Tensor], costs: list[int], budget: int) -> float:
    """Try every choice of ranks."""
    if not spectra:
        return 0.0
    first, energy, top = spectra[0], 0.0, 0.0
    for rank in range(len(first) + 1):
        if rank * costs[0] <= budget:
            energy = float((first[:rank] ** 2).sum())
            top = max(top, energy + best(spectra[1:], costs[1:], budget - rank * costs[0]))
    return top


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(drawn=SPECTRA, costs=st.lists(st.integers(1, 4), min_size=4, max_size=4), budget=st.integers(4, 30))
def test_a_budget_is_kept_and_spent_where_it_pays(drawn: list[list[float]], costs: list[int], budget: int) -> None:
    spectra = [torch.tensor(sorted(each, reverse=True), dtype=torch.float64) for each in drawn]
    ranks = spread(spectra, costs[: len(spectra)], budget)
    spent = sum(rank * cost for rank, cost in zip(ranks, costs, strict=False))
    kept = sum(float((values[:rank] ** 2).sum()) for values, rank in zip(spectra, ranks, strict=True))
    assert spent <= budget
    # Greedy is optimal but for the last rank that does not fit: no choice keeps more than that one would add.
    top = max(float(values[0]) ** 2 for values in spectra)
    assert kept >= best(spectra, costs, budget) - top
    if len(set(costs[: len(spectra)])) == 1:
        assert kept == pytest.approx(best(spectra, costs, budget))


def test_a_budget_without_room_says_so() -> None:
    with pytest.raises(InvalidArgument, match="too small"):
        spread([VALUES], [10.0], 9)
    assert spread([], [], 9) == []
    assert spread([torch.zeros(3)], [1.0], 9) == [0]


@pytest.mark.parametrize(
    "asked",
    [
        {"energy": 0}, {"energy": 1.1}, {"energy": float("nan")}, {"error": 1}, {"error": -0.1}, {"ratio": 0.5},
        {"size": "much"}, {"size": "10 parsecs"}, {"size": 0}, {"rank": 0}, {"rank": 4, "energy": 0.9},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument):
        rank_aim(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "size"), [("50MB", 50_000_000), ("1.5 KiB", 1536), (77, 77), ("77", 77)])
def test_sizes_are_read_with_their_unit(text: str | int, size: int) -> None:
    assert rank_aim(size=text).size == size
