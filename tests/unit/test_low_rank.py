"""The numerics are held against torch's own singular value decomposition in float64."""

from __future__ import annotations

import math

import pytest
import torch

from lorry.algebra.dense import decompose, decompose_all, exact
from lorry.algebra.low_rank import truncate
from lorry.algebra.randomised import leading
from lorry.algebra.ranks import kept_energy, relative_error
from lorry.algebra.svd import Truncated
from lorry.algebra.tucker import tucker
from lorry.plugin import Factors

SHAPES = [(40, 30, 12), (30, 40, 12), (8, 20, 12), (20, 8, 12), (5, 5, 1)]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(factors: Factors) -> torch.Tensor:
    return factors.up.double() @ factors.down.double()


def best(delta: torch.Tensor, rank: int) -> float:
    return float(torch.linalg.svdvals(delta.double())[rank:].norm())


def spectrum(kind: str, size: int) -> torch.Tensor:
    numbers = torch.arange(1, size + 1, dtype=torch.float64)
    return {
        "power": numbers**-0.8,
        "exponential": torch.exp(-numbers / 12),
        "steep": numbers**-3,
        "few": (numbers <= 5) + 0.01 * (numbers > 5),
        "exact": (numbers <= 5).double(),
        "equal": torch.ones(size, dtype=torch.float64),
    }[kind]


SPECTRA = ["power", "exponential", "steep", "few", "exact", "equal", "noise"]


def delta_of(kind: str, rows: int = 260, columns: int = 200) -> torch.Tensor:
    if kind == "noise":
        return random(rows, columns)
    size = min(rows, columns)
    left, right = (torch.linalg.qr(random(side, size, seed=side).double()).Q for side in (rows, columns))
    made: torch.Tensor = ((left * spectrum(kind, size)) @ right.mT).float()
    return made


@pytest.mark.parametrize(("rows", "columns", "inner"), SHAPES)
def test_factors_are_cut_as_the_whole_delta_would_be(rows: int, columns: int, inner: int) -> None:
    factors = Factors(down=random(inner, columns), up=random(rows, inner, seed=1))
    whole = product(factors)
    values = truncate(factors, inner).values
    torch.testing.assert_close(
        values, torch.linalg.svdvals(whole)[: len(values)], rtol=1e-5, atol=1e-5, check_dtype=False
    )
    for rank in (1, 3, inner, inner + 5):
        cut = truncate(factors, rank)
        error = float((whole - product(cut.factors)).norm())
        assert error == pytest.approx(best(whole, rank), rel=1e-6, abs=1e-5 * float(whole.norm()))
        assert cut.tail == pytest.approx(error, rel=1e-4, abs=1e-5 * float(whole.norm()))
        assert cut.norm == pytest.approx(float(whole.norm()), rel=1e-5)
        torch.testing.assert_close(cut.factors.up.norm(dim=0), cut.factors.down.norm(dim=1), rtol=1e-4, atol=1e-5)


def test_a_difference_far_smaller_than_its_factors_is_seen() -> None:
    up, down = random(30, 4), random(4, 20, seed=1)
    nearly_nothing = Factors(torch.cat([down, -down]), torch.cat([up, up * (1 + 1e-5)], 1))
    expected = torch.linalg.matrix_norm(product(nearly_nothing))
    assert truncate(nearly_nothing, 1).norm == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize("rank", [1, 8, 40, 500])
@pytest.mark.parametrize("kind", SPECTRA)
def test_dense_deltas_are_cut_within_a_thousandth_of_the_best(kind: str, rank: int) -> None:
    delta = delta_of(kind)
    cut = decompose(delta, rank)
    error = float((delta.double() - product(cut.factors)).norm())
    rounding = 1e-5 * float(delta.norm())
    assert error <= 1.001 * best(delta, rank) + rounding
    assert cut.tail == pytest.approx(error, rel=1e-3, abs=rounding)
    assert cut.rank == min(rank, *delta.shape)


def test_the_quick_way_is_taken_where_values_decay_and_left_where_they_do_not() -> None:
    assert leading(delta_of("power")[None], 8)[0] is not None
    assert leading(delta_of("few")[None], 5)[0] is not None
    almost = torch.diag(1 - torch.arange(200) * 1e-5)[None]
    turned = torch.linalg.qr(random(200, 200)).Q
    assert leading(turned @ almost, 8, tolerance=1e-9) == [None]


@pytest.mark.parametrize(("rows", "columns"), [(30, 12), (12, 30)])
def test_the_exact_way_gives_the_whole_decomposition(rows: int, columns: int) -> None:
    delta = random(rows, columns)
    found = exact(delta)
    torch.testing.assert_close(found.left * found.values.float() @ found.right, delta, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(delta.double()))


def test_many_deltas_are_cut_as_each_alone() -> None:
    deltas = torch.stack([delta_of(kind) for kind in ("power", "noise", "exact")])
    for together, alone in zip(decompose_all(deltas, 8), (decompose(each, 8) for each in deltas), strict=True):
        assert together.tail == pytest.approx(alone.tail, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_chosen_rank_keeps_what_was_asked_and_hardly_more(kind: str, share: float) -> None:
    delta = delta_of(kind)
    values = torch.linalg.svdvals(delta.double())
    needed = int(((values**2).cumsum(0) < share * (values**2).sum()).sum()) + 1
    for choose in (kept_energy(share), relative_error(math.sqrt(1 - share))):
        cut = decompose(delta, choose)
        assert cut.kept >= share - 1e-6
        assert cut.rank <= needed + 1 + needed // 50


def test_a_rank_may_be_cut_again() -> None:
    whole = delta_of("power")
    cut = decompose(whole, 20).cut(7)
    assert cut.rank == 7
    assert cut.tail == pytest.approx(float((whole - product(cut.factors)).norm()), rel=1e-4)
    assert cut.cut(9) is cut


@pytest.mark.parametrize("delta", [torch.zeros(200, 90), torch.zeros(3, 3)])
def test_nothing_has_no_error(delta: torch.Tensor) -> None:
    cut: Truncated = decompose(delta, 2)
    assert (cut.tail, cut.error, cut.kept) == (0.0, 0.0, 1.0)
    assert not cut.factors.up.isnan().any()


def test_a_tucker_delta_is_found_again() -> None:
    up, core, down = random(20, 3), random(3, 3, 3, 3, seed=1), random(3, 16, seed=2)
    delta = torch.einsum("om,mnxy,ni->oixy", up, core, down)
    found = tucker(delta, 3)
    made = torch.einsum("om,mnxy,ni->oixy", found.up, found.core, found.down)
    torch.testing.assert_close(made, delta, rtol=1e-4, atol=1e-4)
    rough = tucker(delta + 0.1 * random(20, 16, 3, 3, seed=3), 3)
    made = torch.einsum("om,mnxy,ni->oixy", rough.up, rough.core, rough.down)
    assert rough.tail == pytest.approx(float((made - delta - 0.1 * random(20, 16, 3, 3, seed=3)).norm()), rel=1e-3)
    assert [tuple(each.shape) for each in tucker(delta, 18)[:3]] == [(20, 18), (18, 16, 3, 3), (16, 16)]
