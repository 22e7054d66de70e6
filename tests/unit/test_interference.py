"""Where adapters meet: norms, cosines and overlaps against their definitions on whole matrices."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lorry.algebra.gram import gram, norm, overlap, subspaces
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.comparing.interference import interference
from lorry.ops.comparing.plot import draw_interference
from lorry.plugin import Factors
from lorry.testing import Random
from tests.support.kinds import LINEAR_LAYERS

HERE = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
THERE = HERE._replace(name=HERE.name.replace("to_q", "to_k"))

SOME = settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


def factors(seed: int, rank: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(rank, 7, generator=generator), torch.randn(5, rank, generator=generator))


def lora(made: Factors, scale: float = 1.0) -> Layer:
    slots = {"down": TensorRef.from_torch(made.down), "up": TensorRef.from_torch(made.up)}
    return Layer(kind="lora", slots=slots, scale=scale)


def adapter(layer: Layer, path: ModulePath = HERE) -> Adapter:
    return Adapter(base="sd1", layers={path: (layer,)})


@SOME
@given(seed=st.integers(0, 999), ranks=st.lists(st.integers(0, 4), min_size=2, max_size=4), whole=st.integers(0, 3))
def test_inner_products_are_those_of_the_matrices(seed: int, ranks: list[int], whole: int) -> None:
    made = [factors(seed + at, rank) for at, rank in enumerate(ranks)]
    matrices = [each.up.double() @ each.down.double() for each in made]
    want = torch.stack([torch.stack([(a * b).sum() for b in matrices]) for a in matrices])
    mixed = [matrices[at] if at == whole else each for at, each in enumerate(made)]
    torch.testing.assert_close(gram(mixed), want, rtol=1e-10, atol=1e-10)
    assert [norm(each) for each in made] == pytest.approx([float(each.norm()) for each in matrices])


@SOME
@given(seed=st.integers(0, 999), first=st.integers(1, 4), second=st.integers(1, 4))
def test_overlap_is_the_mean_of_squared_cosines_of_the_principal_angles(seed: int, first: int, second: int) -> None:
    one, two = factors(seed, first), factors(seed + 1, second)
    (writes_a, reads_a), (writes_b, reads_b) = subspaces(one), subspaces(two)
    torch.testing.assert_close(reads_a.mT @ reads_a, torch.eye(first).double())
    for a, b, side in ((writes_a, writes_b, (one.up, two.up)), (reads_a, reads_b, (one.down.mT, two.down.mT))):
        bases = [torch.linalg.svd(each.double(), full_matrices=False).U for each in side]
        angles = torch.linalg.svdvals(bases[0].mT @ bases[1])
        assert overlap(a, b) == pytest.approx(float((angles**2).mean()), abs=1e-10)


def test_an_adapter_meets_itself_entirely_and_its_negative_cancels_it() -> None:
    layer = lora(factors(1, 2), 0.5)
    found = interference([(adapter(layer), 1.0), (adapter(layer), -1.0)])
    (meeting,) = found.meetings
    (pair,) = meeting.pairs
    assert (pair.cosine, pair.reads, pair.writes) == pytest.approx((-1.0, 1.0, 1.0))
    assert meeting.together == pytest.approx(0.0, abs=1e-6)
    assert found.cosines[0] == pytest.approx((1.0, -1.0))


def test_adapters_that_share_nothing_leave_one_another_alone() -> None:
    down, up = torch.zeros(1, 7), torch.zeros(5, 1)
    halves = []
    for at in range(2):
        own_down, own_up = down.clone(), up.clone()
        own_down[:, at], own_up[at] = 1.0, 2.0
        halves.append(adapter(lora(Factors(own_down, own_up))))
    (meeting,) = interference(halves).meetings
    assert meeting.pairs[0][2:] == (0.0, 0.0, 0.0)
    assert (*meeting.norms, meeting.together) == pytest.approx((2.0, 2.0, 1.0))


def test_weights_and_modules_of_one_alone() -> None:
    both = Adapter(base="sd1", layers={HERE: (lora(factors(1, 2)),), THERE: (lora(factors(2, 2)),)})
    found = interference([(both, 2.0), adapter(lora(factors(3, 2)))], weights=["/to_k/=0.5"])
    here, there = found.meetings
    plain = interference([both, adapter(lora(factors(3, 2)))]).meetings[0]
    assert here.norms == pytest.approx((2 * plain.norms[0], plain.norms[1]))
    assert (there.pairs, there.norms[1]) == ((), 0.0)
    assert not interference([both, both], weights=["0"]).meetings


def test_kinds_without_factors_have_cosines_and_no_subspaces() -> None:
    loha, wide = LINEAR_LAYERS["loha"](Random(1)), LINEAR_LAYERS["lora"](Random(2))
    (meeting,) = interference([adapter(loha), adapter(wide), adapter(loha)]).meetings
    assert [pair.reads for pair in meeting.pairs] == [None, None, None]
    assert meeting.pairs[1].cosine == pytest.approx(1.0)
    with pytest.raises(Incompatible, match="say which base"):
        interference([adapter(LINEAR_LAYERS["dora"](Random(1))), adapter(wide)])


def test_what_cannot_be_compared_is_refused() -> None:
    one = adapter(lora(factors(1, 2)))
    with pytest.raises(InvalidArgument, match="two adapters or more"):
        interference([one])
    with pytest.raises(Incompatible, match="different bases"):
        interference([one, Adapter(base="sdxl")])
    with pytest.raises(Incompatible, match="different sizes"):
        interference([one, adapter(LINEAR_LAYERS["lora"](Random(1)))])


def test_the_heat_map_has_a_row_a_module_and_shows_what_cancels_in_blue(tmp_path: Path) -> None:
    from PIL import Image

    layer = lora(factors(1, 2))
    paths = [HERE, THERE, HERE._replace(name="conv_in")]
    one = Adapter(base="sd1", layers=dict.fromkeys(paths, (layer,)))
    for sign, wins in ((-1.0, 2), (1.0, 0)):
        found = interference([(one, 1.0), (one, sign)])
        draw_interference(found, ["one", "two"], tmp_path / "map.png", force=True)
        picture = Image.open(tmp_path / "map.png")
        seen = [picture.getpixel(at) for at in itertools.product((350,), (65, 72, 79))]
        assert all(isinstance(pixel, tuple) and max(range(3), key=pixel.__getitem__) == wins for pixel in seen)
    with pytest.raises(InvalidArgument, match="PNG"):
        draw_interference(found, ["one", "two"], tmp_path / "map.jpg")
