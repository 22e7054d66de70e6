"""The built-in merge methods against their formulas, written out entry by entry in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import lorry
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.plugin.merge_method import Site

PATH = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
ROWS, COLUMNS = 6, 9

SOME = settings(max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
SEEDS = st.integers(0, 10**6)
WEIGHTS = st.sampled_from([1.0, 0.7, -0.4, 0.25, 2.0])


def lora(seed: int, rank: int = 2, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, COLUMNS, generator=generator).to(dtype)
    up = torch.randn(ROWS, rank, generator=generator).to(dtype)
    return Layer(kind="lora", slots={"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}, scale=scale)


def full(seed: int) -> Layer:
    delta = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))
    return Layer(kind="diff", slots={"diff": TensorRef.from_torch(delta)})


def adapter(layer: Layer) -> Adapter:
    return Adapter(base="sd1", layers={PATH: (layer,)})


def delta(layers: Sequence[Layer]) -> Tensor:
    """Return what layers do, in float64."""
    total = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
    for layer in layers:
        if layer.kind == "lora":
            total += layer.scale * layer.slots["up"].torch().double() @ layer.slots["down"].torch().double()
        else:
            total += layer.scale * layer.slots["diff"].torch().double()
    return total


def merged(method: str, pairs: Sequence[tuple[Layer, float]], **options: Any) -> Tensor:
    rank = options.pop("rank", None)
    made = lorry.merge([(adapter(layer), weight) for layer, weight in pairs], method, rank=rank, options=options)
    return delta(made.layers[PATH])


def close(got: Tensor, want: Tensor, tolerance: float = 1e-6) -> None:
    assert float((got - want).norm()) <= tolerance * max(float(want.norm()), 1.0)


def largest(values: Tensor, share: float) -> Tensor:
    """Keep the entries whose place among all magnitudes is within the share."""
    count = round(share * values.numel())
    order = sorted(values.abs().flatten().tolist(), reverse=True)
    edge = order[count - 1] if count else math.inf
    return torch.where(values.abs() >= edge, values, 0.0)


def elected(deltas: Sequence[Tensor]) -> Tensor:
    out = torch.zeros_like(deltas[0])
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            entries = [float(each[row, column]) for each in deltas]
            total = math.fsum(entries)
            same = [entry for entry in entries if entry * total > 0]
            out[row, column] = math.fsum(same) / len(same) if same else 0.0
    return out


def drawn(position: int) -> Tensor:
    site = Site(path=PATH, param="weight", shape=(ROWS, COLUMNS), options={"seed": 7})
    return torch.rand(ROWS, COLUMNS, generator=site.generator(position)).double()


def kept_by(position: int, keep: Tensor | float) -> Tensor:
    return (drawn(position) < torch.as_tensor(keep, dtype=torch.float32)).double() / keep


def della_keep(each: Tensor) -> Tensor:
    places = torch.zeros_like(each)
    for row in range(ROWS):
        order = sorted(range(COLUMNS), key=lambda column: abs(float(each[row, column])))
        for place, column in enumerate(order):
            places[row, column] = place / (COLUMNS - 1)
    return 0.6 + 0.4 * (places - 0.5)


def middle(each: Tensor) -> Tensor:
    count = each.numel()
    order = sorted(each.abs().flatten().tolist(), reverse=True)
    first, last = round(0.1 * count), round((0.1 + 0.5) * count)
    chosen = set(order[first:last])
    return torch.tensor([[v if abs(v) in chosen else 0.0 for v in row] for row in each.tolist()], dtype=torch.float64)


Weighted = Sequence[tuple[Tensor, float]]
Formula = Callable[[Weighted], Tensor]
NOTHING = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)

DENSE: Mapping[str, tuple[dict[str, object], Formula]] = {
    "sum": ({}, lambda pairs: sum((w * d for d, w in pairs), NOTHING)),
    "ties": ({"density": 0.4}, lambda pairs: elected([w * largest(d, 0.4) for d, w in pairs])),
    "dare": (
        {"density": 0.5, "seed": 7},
        lambda pairs: sum((w * d * kept_by(at, 0.5) for at, (d, w) in enumerate(pairs)), NOTHING),
    ),
    "dare-ties": (
        {"density": 0.5, "seed": 7},
        lambda pairs: elected([w * d * kept_by(at, 0.5) for at, (d, w) in enumerate(pairs)]),
    ),
    "della": (
        {"density": 0.6, "epsilon": 0.4, "seed": 7},
        lambda pairs: elected([w * d * kept_by(at, della_keep(d)) for at, (d, w) in enumerate(pairs)]),
    ),
    "breadcrumbs": ({"density": 0.5, "gamma": 0.1}, lambda pairs: sum((w * middle(d) for d, w in pairs), NOTHING)),
    "magnitude": ({"density": 0.3}, lambda pairs: sum((w * largest(d, 0.3) for d, w in pairs), NOTHING)),
}


@pytest.mark.parametrize("method", DENSE)
@SOME
@given(seed=SEEDS, weights=st.lists(WEIGHTS, min_size=1, max_size=3))
def test_dense_methods_are_their_formulas(method: str, seed: int, weights: list[float]) -> None:
    options, formula = DENSE[method]
    pairs = [(full(seed + at), weight) for at, weight in enumerate(weights)]
    close(merged(method, pairs, **options), formula([(delta([layer]), weight) for layer, weight in pairs]))


def arc(a: Tensor, b: Tensor, t: float) -> Tensor:
    angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


@SOME
@given(seed=SEEDS, t=st.sampled_from([0.0, 0.3, 1.0]), make=st.sampled_from([lora, full]))
def test_slerp_is_the_arc(seed: int, t: float, make: Callable[[int], Layer]) -> None:
    one, two = make(seed), make(seed + 1)
    close(merged("slerp", [(one, 1.0), (two, 1.0)], t=t), arc(delta([one]), delta([two]), t))
    close(merged("slerp", [(one, 0.3), (two, 0.1)]), arc(delta([one]), delta([two]), 0.25))


def test_slerp_of_parallel_deltas_is_the_line_between_them() -> None:
    one = lora(0)
    close(merged("slerp", [(one, 1.0), (replace(one, scale=3.0), 1.0)]), 2 * delta([one]))
    with pytest.raises(InvalidArgument, match="takes 2 adapters"):
        merged("slerp", [(one, 1.0)] * 3)
    with pytest.raises(InvalidArgument, match="positive weights"):
        merged("slerp", [(one, 1.0), (one, -1.0)])


@SOME
@given(
    seed=SEEDS,
    drawn_=st.lists(
        st.tuples(
            st.sampled_from(["lora", "full"]),
            st.integers(1, 5),
            st.sampled_from([1.0, 0.3, -2.0]),
            st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
            WEIGHTS,
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_sum_is_exact_for_any_mixture(seed: int, drawn_: list[tuple[str, int, float, torch.dtype, float]]) -> None:
    pairs = [
        (lora(seed + at, rank, scale, dtype) if kind == "lora" else full(seed + at), weight)
        for at, (kind, rank, scale, dtype, weight) in enumerate(drawn_)
    ]
    want = sum((weight * delta([layer]) for layer, weight in pairs), NOTHING)
    size = sum(abs(weight) * float(delta([layer]).norm()) for layer, weight in pairs)
    assert float((merged("sum", pairs) - want).norm()) <= 1e-6 * size


@SOME
@given(seed=SEEDS, ranks=st.lists(st.integers(1, 5), min_size=1, max_size=3), kind=st.sampled_from(["lora", "full"]))
def test_svd_is_the_best_of_its_rank(seed: int, ranks: list[int], kind: str) -> None:
    pairs = [(lora(seed + at, rank) if kind == "lora" else full(seed + at), 0.5) for at, rank in enumerate(ranks)]
    want = sum((weight * delta([layer]) for layer, weight in pairs), NOTHING)
    rank = max(ranks)
    got = merged("svd", pairs) if kind == "lora" else merged("svd", pairs, rank=rank)
    left, values, right = torch.linalg.svd(want, full_matrices=False)
    close(got, (left[:, :rank] * values[:rank]) @ right[:rank], 2e-5)


@SOME
@given(seed=SEEDS, scales=st.lists(st.sampled_from([1.0, 0.5, 4.0]), min_size=2, max_size=3), weight=WEIGHTS)
def test_linear_factors_adds_factors(seed: int, scales: list[float], weight: float) -> None:
    layers = [lora(seed + at, 3, scale) for at, scale in enumerate(scales)]
    roots = [math.sqrt(abs(weight) * scale) for scale in scales]
    up = sum(root * layer.slots["up"].torch().double() for root, layer in zip(roots, layers, strict=True))
    down = sum(root * layer.slots["down"].torch().double() for root, layer in zip(roots, layers, strict=True))
    close(merged("linear-factors", [(each, weight) for each in layers]), math.copysign(1.0, weight) * (up @ down))  # type: ignore[operator]
    with pytest.raises(Incompatible, match="ranks"):
        merged("linear-factors", [(lora(1, 2), 1.0), (lora(2, 3), 1.0)])


@SOME
@given(seed=SEEDS, weights=st.lists(WEIGHTS, min_size=1, max_size=3))
def test_orthogonal_takes_the_nearest_orthonormal_vectors(seed: int, weights: list[float]) -> None:
    layers = [lora(seed + at, 2) for at in range(len(weights))]
    parts = [torch.linalg.svd(delta([layer]), full_matrices=False) for layer in layers]
    left, right = (
        torch.cat([each[:, :2] for each in side], 1) for side in ([u for u, _, _ in parts], [v.mT for _, _, v in parts])
    )
    values = torch.cat([weight * s[:2] for weight, (_, s, _) in zip(weights, parts, strict=True)])

    def nearest(columns: Tensor) -> Tensor:
        p, _, q = torch.linalg.svd(columns, full_matrices=False)
        found: Tensor = p @ q
        return found

    want = (nearest(left) * values) @ nearest(right).mT
    close(merged("orthogonal", list(zip(layers, weights, strict=True))), want, 1e-5)


def test_orthogonal_gives_adapters_that_do_not_meet_as_their_sum_and_one_twice_as_itself() -> None:
    def at(rows: slice, columns: slice) -> Layer:
        up, down = torch.zeros(ROWS, 1), torch.zeros(1, COLUMNS)
        up[rows], down[:, columns] = 1.0, 2.0
        return Layer(kind="lora", slots={"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)})

    one, two = at(slice(0, 3), slice(0, 4)), at(slice(3, 6), slice(4, 9))
    close(merged("orthogonal", [(one, 0.5), (two, 2.0)]), 0.5 * delta([one]) + 2 * delta([two]))
    close(merged("orthogonal", [(one, 1.0), (one, 1.0)]), delta([one]))


@SOME
@given(seed=SEEDS, weights=st.lists(WEIGHTS, min_size=1, max_size=3))
def test_knots_merges_in_the_basis_of_all(seed: int, weights: list[float]) -> None:
    layers = [lora(seed + at, 1) for at in range(len(weights))]
    left, values, right = torch.linalg.svd(torch.cat([delta([each]) for each in layers], 1), full_matrices=False)
    rank = len(layers)
    blocks = right[:rank].split(COLUMNS, 1)
    want = (left[:, :rank] * values[:rank]) @ elected(
        [w * largest(block, 0.5) for w, block in zip(weights, blocks, strict=True)]
    )
    close(merged("knots", list(zip(layers, weights, strict=True)), density=0.5), want, 1e-5)


SYMMETRIC = ["sum", "svd", "linear-factors", "ties", "breadcrumbs", "magnitude", "orthogonal", "knots"]


@pytest.mark.parametrize("method", SYMMETRIC)
def test_the_order_of_adapters_makes_no_difference(method: str) -> None:
    pairs = [(lora(at, 2), weight) for at, weight in enumerate((1.0, -0.3, 0.6))]
    close(merged(method, pairs), merged(method, pairs[::-1]), 1e-5)


@pytest.mark.parametrize("method", ["dare", "dare-ties", "della"])
def test_the_seed_decides_and_nothing_else(method: str) -> None:
    pairs = [(lora(1), 1.0), (lora(2), 1.0)]
    first, again = (merged(method, pairs, seed=3, density=0.5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, merged(method, pairs, seed=4, density=0.5))


@pytest.mark.parametrize("method", ["sum", "svd", "ties", "magnitude", "orthogonal", "linear-factors"])
def test_one_adapter_with_everything_kept_is_itself(method: str) -> None:
    options = {"density": 1.0} if method in ("ties", "magnitude") else {}
    layer = lora(5)
    close(merged(method, [(layer, 1.0)], **options), delta([layer]))
    close(merged(method, [(layer, 1.0), (lora(6), 0.0)], **options), delta([layer]))


@pytest.mark.parametrize(
    ("method", "options"),
    [("della", {"density": 0.1, "epsilon": 0.5}), ("breadcrumbs", {"density": 0.9, "gamma": 0.2})],
)
def test_options_that_contradict_one_another_are_refused(method: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="density"):
        merged(method, [(full(1), 1.0), (full(2), 1.0)], rank=2, **options)


def test_random_numbers_depend_on_the_module_and_the_adapter() -> None:
    sites = [Site(path=p, param="weight", shape=(1,), options={"seed": 0}) for p in (PATH, PATH._replace(name="x"))]
    drawn_ = [torch.rand(1, generator=site.generator(position)).item() for site in sites for position in (0, 1)]
    assert len(set(drawn_)) == 4
