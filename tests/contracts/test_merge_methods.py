"""What every installed merge method promises, whatever it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.bases.base import Base
from lorry.ops.merging.deltas import Deltas, by_parameter
from lorry.ops.merging.merge import Merging
from lorry.plugin import DenseTerm, MergeMethod, Option, Site
from lorry.plugin.host import Host, host
from lorry.testing import LawBroken, Random, check_merge_method
from lorry.testing.tables import base_under
from tests.support.kinds import CONVOLUTION, CONVOLUTION_LAYERS, LINEAR, LINEAR_LAYERS

METHODS = list(host().merge_methods().values())
LINEARS = ["lora", "loha", "lokr", "diff-scaled", "glora", "dora", "ia3-columns"]
HERE = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
THERE = HERE._replace(name=HERE.name.replace("to_q", "to_k"))
CONV = ModulePath("unet", "mid_block.resnets.0.conv1")


def lora(seed: int, shape: tuple[int, ...] = LINEAR, scale: float = 0.5) -> Layer:
    layers = LINEAR_LAYERS if len(shape) == 2 else CONVOLUTION_LAYERS
    return replace(layers["lora"](Random(seed)), scale=scale)


def adapter(**layers: Layer) -> Adapter:
    places = {"here": HERE, "there": THERE, "conv": CONV}
    return Adapter(base="sd1", layers={places[name]: (layer,) for name, layer in layers.items()})


def two() -> list[tuple[Adapter, float]]:
    """Return two adapters that share one module, each alone at another."""
    return [
        (adapter(here=lora(1), there=lora(2)), 0.8),
        (adapter(here=lora(3, scale=2.0), conv=lora(4, CONVOLUTION)), 0.4),
    ]


def merged(
    method: MergeMethod, pairs: Sequence[tuple[Adapter, float]], **more: object
) -> dict[ModulePath, torch.Tensor]:
    return read(lorry.merge(pairs, method.name, **more))  # type: ignore[arg-type]


def read(made: Adapter) -> dict[ModulePath, torch.Tensor]:
    deltas = Deltas(None, host())
    return {at.path: deltas.whole(at, layers, deltas.shape(at, layers)) for at, layers in by_parameter(made).items()}


@pytest.fixture(params=METHODS, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> MergeMethod:
    found: MergeMethod = request.param
    return found


def test_it_keeps_the_laws_of_its_contract(method: MergeMethod) -> None:
    check_merge_method(method)


def forgetful(terms: Sequence[DenseTerm], site: Site) -> torch.Tensor:
    return torch.rand(site.shape) * terms[0].weight


def halved(terms: Sequence[DenseTerm], site: Site) -> torch.Tensor:  # noqa: ARG001  the shape of a method
    return terms[0].delta[: len(terms[0].delta) // 2]


def divided(terms: Sequence[DenseTerm], site: Site) -> torch.Tensor:  # noqa: ARG001  the shape of a method
    return terms[0].delta / (terms[0].delta - terms[0].delta)


def first(terms: Sequence[DenseTerm], site: Site) -> torch.Tensor:  # noqa: ARG001  the shape of a method
    return terms[0].delta


GOOD = MergeMethod(name="mine", title="t", formula="f", source="s", dense=first)
BROKEN = {
    "nothing to do": (replace(GOOD, dense=None), "says what it computes"),
    "no source": (replace(GOOD, source=""), "says what it computes"),
    "a default out of range": (replace(GOOD, options=(Option("p", 2.0, "share", 0.0, 1.0),)), "its own options"),
    "unseeded": (replace(GOOD, dense=forgetful), "same numbers"),
    "another shape": (replace(GOOD, dense=halved), "in its own shape"),
    "infinite": (replace(GOOD, dense=divided), "finite numbers"),
    "not linear": (replace(GOOD, linear=True), "Σ wᵢ·ΔWᵢ"),
}


def test_a_sound_method_of_a_stranger_keeps_them_too() -> None:
    check_merge_method(GOOD)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_method_is_told_which_law_it_breaks(case: str) -> None:
    method, law = BROKEN[case]
    with pytest.raises(LawBroken, match=law):
        check_merge_method(method)


def test_what_has_weight_nought_everywhere_is_left_out(method: MergeMethod) -> None:
    found = merged(method, two(), weights=["/to_q/=0, unet.mid_block.resnets=0"])
    assert set(found) == {THERE}


@pytest.mark.parametrize("rank", [1, 3, 16, 100])
def test_a_rank_is_never_exceeded_and_the_error_is_told(method: MergeMethod, rank: int) -> None:
    full, work = merged(method, two(), rank=10**6), Merging(two(), method.name, rank=rank)
    told = list(work.run())
    cut = read(work.finish())
    for each in told:
        values = torch.linalg.svdvals(full[each.path].flatten(1).double())
        best = float(values[rank:].norm() / values.norm())
        assert int(torch.linalg.matrix_rank(cut[each.path].flatten(1), rtol=1e-5)) <= each.rank <= max(rank, 1)
        error = float((cut[each.path] - full[each.path]).norm() / full[each.path].norm())
        assert error == pytest.approx(best, rel=2e-3, abs=3e-6)
        assert each.error == pytest.approx(error, rel=2e-3, abs=3e-6)


@pytest.mark.parametrize("kind", LINEARS)
def test_kinds_without_factors_are_lifted_or_refused_by_name(method: MergeMethod, kind: str) -> None:
    stranger = adapter(here=LINEAR_LAYERS[kind](Random(5)))
    pairs = [(adapter(here=lora(1)), 0.5), (stranger, 0.5)]
    base = base_under(pairs[0][0])
    if kind != "lora" and method.dense is None:
        with pytest.raises(Incompatible, match="try the method sum"):
            lorry.merge(pairs, method.name, base=base)
        return
    if kind != "lora" and method.cut:
        with pytest.raises(InvalidArgument, match="no rank to cut to"):
            lorry.merge(pairs, method.name, base=base)
    if host().kinds()[stranger.layers[HERE][0].kind].needs_weight:
        with pytest.raises(Incompatible, match="say which base"):
            lorry.merge(pairs, method.name, rank=4)
    (told,) = Merging(pairs, method.name, base=base, rank=24).run()
    assert told.form == "low rank"
    assert told.error < 1e-5 or method.cut


def test_nan_is_refused_before_anything_is_written(method: MergeMethod) -> None:
    broken = TensorRef.from_torch(torch.full((24, 4), torch.nan))
    bad = adapter(here=replace(lora(1), slots={**lora(1).slots, "up": broken}))
    with pytest.raises(InvalidFile, match="NaN"):
        lorry.merge([(bad, 1.0), (adapter(here=lora(2)), 1.0)], method.name)


@pytest.mark.parametrize(
    ("options", "says"), [({"densty": 0.5}, "has no option 'densty'"), ({"nothing_like_it": 1}, "it has")]
)
def test_an_unknown_option_is_refused(method: MergeMethod, options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        lorry.merge(two(), method.name, options=options)


OPTIONS = [
    pytest.param(method, option, id=f"{method.name}-{option.name}") for method in METHODS for option in method.options
]


@pytest.mark.parametrize(("method", "option"), OPTIONS)
def test_a_value_outside_the_range_is_refused(method: MergeMethod, option: Option) -> None:
    bad: list[object] = ["a word", float("nan"), None, [1]]
    bad += [] if option.low is None else [option.low - 1]
    bad += [] if option.high is None else [option.high * 2 + 1]
    for value in bad:
        with pytest.raises(InvalidArgument, match=f"no {option.name} for {method.name}"):
            lorry.merge(two(), method.name, options={option.name: value})


def test_tokens_alone_are_merged_too(method: MergeMethod) -> None:
    empty = Adapter(base="sd1")
    assert lorry.merge([empty] * (method.count or 3), method.name).layers == {}


@pytest.mark.parametrize(
    "layer",
    [LINEAR_LAYERS["loha"](Random(1)), LINEAR_LAYERS["diff"](Random(1)), replace(lora(1), param="weight")],
    ids=["loha", "diff", "lora"],
)
def test_a_linear_method_keeps_the_layer_of_the_only_adapter_that_has_it(layer: Layer) -> None:
    for method in METHODS:
        if method.linear:
            made = lorry.merge([(adapter(here=layer), 0.5), adapter(there=lora(2))], method.name)
            assert made.layers[HERE] == (replace(layer, scale=layer.scale * 0.5),)


@pytest.mark.parametrize("form", CONVOLUTION_LAYERS)
def test_sum_adds_any_kind_to_a_convolution_exactly(form: str) -> None:
    layers = [CONVOLUTION_LAYERS["lora"](Random(1)), CONVOLUTION_LAYERS[form](Random(2))]
    weight = Random(3).weight(CONVOLUTION)
    base = Base(id="sd1", path=Path("memory"), tensors={f"{CONV}.weight": TensorRef.from_torch(weight)}, files={})
    made = lorry.merge([(adapter(conv=layers[0]), 0.5), (adapter(conv=layers[1]), -2.0)], base=base)
    wanted = torch.zeros(CONVOLUTION)
    for layer, strength in zip(layers, (0.5, -2.0), strict=True):
        apply = host().kinds()[layer.kind].apply
        assert apply is not None
        wanted += strength * (apply(weight, layer) - weight)
    torch.testing.assert_close(read(made)[CONV], wanted, rtol=1e-5, atol=2e-5)


def test_what_multiplies_the_output_changes_the_bias_too() -> None:
    ia3 = LINEAR_LAYERS["ia3-output"](Random(1))
    weight, bias = Random(2).weight(LINEAR), Random(3).weight(LINEAR[:1])
    tensors = {f"{HERE}.weight": TensorRef.from_torch(weight), f"{HERE}.bias": TensorRef.from_torch(bias)}
    base = Base(id="sd1", path=Path("memory"), tensors=tensors, files={})
    pairs = [(adapter(here=ia3), 0.5), (adapter(here=lora(4)), 1.0)]
    made = lorry.bake(base, [lorry.merge(pairs, base=base)])
    for name, tensor in lorry.bake(base, pairs).items():
        torch.testing.assert_close(made[name], tensor, rtol=1e-5, atol=1e-5)


def test_a_layer_that_depends_on_the_weight_is_kept_where_it_is_alone_at_full_weight() -> None:
    dora = LINEAR_LAYERS["dora"](Random(1))
    assert lorry.merge([adapter(here=dora), adapter(there=lora(2))]).layers[HERE] == (dora,)
    with pytest.raises(Incompatible, match="say which base"):
        lorry.merge([(adapter(here=dora), 0.5)])


def test_another_base_is_refused() -> None:
    other = adapter(here=lora(1))
    with pytest.raises(Incompatible, match="Stable Diffusion XL"):
        lorry.merge([other], base=replace(base_under(other), id="sdxl"))
    small = base_under(adapter(here=replace(lora(1), slots={**lora(1).slots, "up": Random()(12, 4)})))
    with pytest.raises(Incompatible, match="for another base"):
        lorry.merge([other], base=small)


def test_a_linear_layer_and_a_1x1_convolution_of_one_weight_are_one(method: MergeMethod) -> None:
    flat = lora(1)
    slots = {slot: ref.reshape(*ref.shape, 1, 1) for slot, ref in lora(2).slots.items()}
    pairs = [(adapter(here=flat), 0.5), (adapter(here=replace(lora(2), slots=slots)), 0.25)]
    same = [(adapter(here=flat), 0.5), (adapter(here=lora(2)), 0.25)]
    for order in (1, -1):
        got, want = (merged(method, each[::order])[HERE].flatten(1) for each in (pairs, same))
        torch.testing.assert_close(got, want)


def test_the_result_of_every_method_can_be_saved_and_read_back(method: MergeMethod, tmp_path: Path) -> None:
    made = lorry.merge(two(), method.name)
    lorry.save(made, tmp_path / "out.safetensors", "kohya", metadata={"ss_base_model_version": "sd_v1"})
    again = read(lorry.open(tmp_path / "out.safetensors"))
    for path, delta in read(made).items():
        torch.testing.assert_close(again[path], delta, rtol=1e-5, atol=1e-6)


def test_a_parameter_is_computed_when_it_is_read_and_not_held() -> None:
    calls: list[str] = []

    def counted(terms: Sequence[DenseTerm], site: Site) -> torch.Tensor:
        calls.append(str(site.path))
        return terms[0].delta

    made = MergeMethod(name="counted", title="t", formula="f", source="s", dense=counted)

    class Plugins(Host):
        def get(self, group: str, name: str) -> object:
            return made if group == "merge_methods" else super().get(group, name)

    found = lorry.merge(two(), "counted", plugins=Plugins())
    assert not calls
    (layer,) = found.layers[HERE]
    assert len(layer.slots["diff"].tobytes()) == 4 * 24 * 16
    assert calls == [str(HERE)]
