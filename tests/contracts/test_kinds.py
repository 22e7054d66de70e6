"""What every kind of layer promises: on weights, on fused modules, on running models and in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

import lorry
from lorry.compose.attachment import Attachment
from lorry.errors import Incompatible, InvalidFile, NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops import views
from lorry.ops.base import Base
from lorry.ops.names import Target
from lorry.plugin import Kind
from lorry.plugin.host import host
from lorry.plugin.kind import fits
from tests.support.files import KOHYA, write
from tests.support.kinds import CONVOLUTION, CONVOLUTION_LAYERS, LINEAR, LINEAR_LAYERS, ROWS, Make, Random

FORMS: Mapping[str, tuple[Make, tuple[int, ...]]] = {
    **{f"{name}-linear": (make, LINEAR) for name, make in LINEAR_LAYERS.items()},
    **{f"{name}-convolution": (make, CONVOLUTION) for name, make in CONVOLUTION_LAYERS.items()},
}
PATH = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
PARTS = Target("qkv", ("q", "k", "v"), (1, 1, 1), flip=False)

WHOLE = {"dora-columns", "diag-oft-constrained", "boft", "vera", "lokr-dora"}
"""Forms that say something of more rows than a part has, and need the weight to say it."""

KOHYA_CANNOT = {"ia3-output", "ia3-input", "input-boft", "vera", "oft", "oft-shared", "oft-exact", "oft-constrained"}
"""Forms that only peft's configuration can tell."""

PEFT_CANNOT = {
    "dora-columns", "loha-dora", "lokr-dora", "diff", "diff-scaled", "set", "ia3-rows", "ia3-columns", "glora",
    "diag-oft", "diag-oft-rescaled", "diag-oft-constrained", "boft", "oft-scaled", "oft-onetrainer",
}  # fmt: skip


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def made(form: str, seed: int = 0) -> tuple[Kind, Layer, torch.Tensor]:
    """Return a kind, a layer of it and a weight it fits."""
    make, shape = FORMS[form]
    layer = make(Random(seed))
    return host().get("kinds", layer.kind), layer, Random(seed + 99).weight(shape)


def applied(kind: Kind, weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    assert kind.apply is not None
    return kind.apply(weight, layer)


def adapter(layer: Layer) -> Adapter:
    return Adapter(base="sd1", layers={PATH: (layer,)})


def base(weight: torch.Tensor, bias: torch.Tensor) -> Base:
    tensors = {f"{PATH}.weight": TensorRef.from_torch(weight), f"{PATH}.bias": TensorRef.from_torch(bias)}
    return Base(id="sd1", path=Path("memory"), tensors=tensors, files={})


def test_every_kind_that_changes_weights_is_tried() -> None:
    tried = {made(form)[1].kind for form in FORMS}
    known = {kind.name for kind in host().kinds().values() if kind.apply}
    assert tried | {"wide-lora"} == known  # a widening changes shapes: see test_widening


def test_apply_gives_a_new_float32_weight_of_the_same_shape(form: str) -> None:
    kind, layer, weight = made(form)
    before = weight.clone()
    result = applied(kind, weight, layer)
    assert (result.shape, result.dtype) == (weight.shape, torch.float32)
    assert torch.equal(weight, before)
    assert not torch.allclose(result, weight)


def test_target_and_rank_fit_the_weight(form: str) -> None:
    kind, layer, weight = made(form)
    assert kind.target is not None
    assert fits(kind.target(layer.slots), tuple(weight.shape))
    told = any(size != -1 for size in kind.target(layer.slots))
    assert told != fits(kind.target(layer.slots), (ROWS + 1, weight.shape[1] + 1, *weight.shape[2:]))
    assert kind.rank is None or kind.rank(layer.slots) >= 0


def test_half_strength_goes_half_the_way(form: str) -> None:
    kind, layer, weight = made(form)
    opened = base(weight, torch.zeros(ROWS))
    half = lorry.bake(opened, [(adapter(layer), 0.5)])[f"{PATH}.weight"]
    assert torch.allclose(half, weight + 0.5 * (applied(kind, weight, layer) - weight), atol=1e-4)


def test_a_running_module_gets_the_baked_weights(form: str) -> None:
    _, layer, weight = made(form)
    module = nn.Conv2d(weight.shape[1], ROWS, 3, padding=1) if weight.ndim > 2 else nn.Linear(weight.shape[1], ROWS)
    module.weight, tree = nn.Parameter(weight), nn.Module()
    *parents, leaf = PATH.name.split(".")
    at = tree
    for name in parents:
        at.add_module(name, nn.Module())
        at = at.get_submodule(name)
    at.add_module(leaf, module)
    assert module.bias is not None
    baked = lorry.bake(base(weight, module.bias.detach()), [(adapter(layer), 0.7)])
    attachment = Attachment({PATH.component: tree}, {}, [adapter(layer)], host())
    attachment.set([0.7])
    attachment.install()
    x = torch.randn(2, weight.shape[1], *(5 for _ in weight.shape[2:]))
    seen = at.get_submodule(leaf)(x)
    attachment.remove()
    bare = nn.functional.conv2d if weight.ndim > 2 else nn.functional.linear
    options = {"padding": 1} if weight.ndim > 2 else {}
    wanted = bare(x, baked[f"{PATH}.weight"], baked[f"{PATH}.bias"], **options)
    assert torch.allclose(seen, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_a_layer_of_a_fused_module_is_split_exactly_or_refused(name: str) -> None:
    kind, layer, weight = made(f"{name}-linear")
    if name in WHOLE:
        with pytest.raises(Incompatible):
            views.split(layer, kind, PARTS)
        return
    parts = views.split(layer, kind, PARTS)
    kinds = [host().get("kinds", part.kind) for part in parts]
    results = [applied(*each) for each in zip(kinds, weight.chunk(3), parts, strict=True)]
    assert torch.allclose(torch.cat(results), applied(kind, weight, layer), atol=1e-4)


@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_split_parts_are_joined_to_what_they_were(name: str) -> None:
    kind, layer, weight = made(f"{name}-linear")
    if name in WHOLE:
        return
    parts = views.split(layer, kind, PARTS)
    own = host().get("kinds", parts[0].kind)
    joined = views.join(parts, own, PARTS)
    assert joined is not None
    assert torch.allclose(applied(own, weight, joined), applied(kind, weight, layer), atol=1e-4)


@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_swapped_halves_swap_what_the_layer_does(name: str) -> None:
    kind, layer, weight = made(f"{name}-linear")
    if name in WHOLE:
        return
    (flipped,) = views.split(layer, kind, Target("x", ("x",), (1,), flip=True))
    own = host().get("kinds", flipped.kind)
    half = ROWS // 2
    assert torch.allclose(
        applied(own, weight.roll(half, 0), flipped), applied(kind, weight, layer).roll(half, 0), atol=1e-4
    )


@pytest.mark.parametrize("format", ["kohya", "peft"])
def test_a_written_layer_does_the_same_when_it_is_read(
    form: str,
    format: str,  # noqa: A002  the word people use
    tmp_path: Path,
) -> None:
    kind, layer, weight = made(form)
    name = form.rpartition("-")[0]
    cannot = KOHYA_CANNOT if format == "kohya" else PEFT_CANNOT
    if name in cannot:
        with pytest.raises(NotRepresentable, match=PATH.name):
            lorry.save(adapter(layer), tmp_path / "out", format)
        return
    lorry.save(adapter(layer), tmp_path / "out", format)
    opened = base(weight, torch.zeros(ROWS))
    read = lorry.open(tmp_path / "out", base=opened)
    assert not read.report.unmapped
    (back,) = read.layers[PATH]
    assert torch.allclose(applied(kind, weight, back), applied(kind, weight, layer), atol=1e-5, rtol=1e-6)


def test_biases_and_norms_come_back_as_they_were(tmp_path: Path) -> None:
    r = Random()
    norm = ModulePath("unet", "mid_block.attentions.0.norm")
    layers = {
        PATH: (LINEAR_LAYERS["lora"](r), Layer(kind="diff", slots={"diff": r(ROWS)}, param="bias")),
        norm: tuple(
            Layer(kind="diff", slots={"diff": r(8)}, param=param, options={"norm": True})
            for param in ("weight", "bias")
        ),
    }
    lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "a.safetensors", "kohya")
    back = lorry.open(tmp_path / "a.safetensors")
    for path, stack in layers.items():
        found = {(each.kind, each.param): each for each in back.layers[path]}
        for layer in stack:
            same = found[layer.kind, layer.param]
            assert all(ref.same(same.slots[slot]) for slot, ref in layer.slots.items())


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.5, 1.0), (0.25, 0.5)])
def test_the_bias_of_a_lora_is_multiplied_by_its_scale(scales: tuple[float, float], tmp_path: Path) -> None:
    r = Random()
    lora = Layer(kind="lora", slots=LINEAR_LAYERS["lora"](r).slots, scale=scales[0])
    bias = Layer(kind="diff", slots={"diff": r(ROWS)}, scale=scales[1], param="bias")
    before = Adapter(base="sd1", layers={PATH: (lora, bias)})
    lorry.save(before, tmp_path / "folder", "peft")
    opened = base(torch.zeros(LINEAR), torch.zeros(ROWS))
    for name in ("weight", "bias"):
        one, other = (
            lorry.bake(opened, [each])[f"{PATH}.{name}"] for each in (before, lorry.open(tmp_path / "folder", opened))
        )
        assert torch.allclose(one, other, atol=1e-6)


def test_a_bias_without_its_lora_is_not_written_for_peft(tmp_path: Path) -> None:
    bias = Layer(kind="diff", slots={"diff": Random()(ROWS)}, param="bias")
    with pytest.raises(NotRepresentable, match="can only stand beside lora"):
        lorry.save(adapter(bias), tmp_path / "folder", "peft")


def test_what_multiplies_the_output_multiplies_the_bias() -> None:
    layer = LINEAR_LAYERS["ia3-output"](Random())
    bias = torch.randn(ROWS)
    baked = lorry.bake(base(torch.randn(LINEAR), bias), [(adapter(layer), 1.0)])
    assert torch.allclose(baked[f"{PATH}.bias"], bias * layer.slots["output"].torch().flatten())


def test_widening_adds_to_zeros() -> None:
    r = Random()
    layer = Layer(kind="wide-lora", slots={"down": r(2, 20), "up": r(ROWS, 2)})
    weight = torch.randn(LINEAR)
    wide = lorry.bake(base(weight, torch.zeros(ROWS)), [(adapter(layer), 0.5)])[f"{PATH}.weight"]
    delta = layer.slots["up"].torch() @ layer.slots["down"].torch()
    assert torch.allclose(wide, nn.functional.pad(weight, (0, 4)) + 0.5 * delta, atol=1e-5)


def test_what_depends_on_the_timestep_is_named_and_refused() -> None:
    r = Random()
    layer = Layer(kind="tlora", slots={"down": r(4, 16), "up": r(ROWS, 4), "lambda": r(1, 4)})
    with pytest.raises(Incompatible, match="T-LoRA"):
        lorry.bake(base(torch.zeros(LINEAR), torch.zeros(ROWS)), [adapter(layer)])


BROKEN: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "loha": {"hada_w1_a": (8, 2), "hada_w1_b": (3, 8), "hada_w2_a": (8, 3), "hada_w2_b": (3, 8)},
    "lokr": {"lokr_w1": (4, 4, 4), "lokr_w2": (2, 2)},
    "glora": {"a1.weight": (8, 2), "a2.weight": (2, 8), "b1.weight": (8, 2), "b2.weight": (3, 9)},
    "dora": {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2), "dora_scale": (3, 1)},
    "diag-oft": {"oft_blocks": (2, 4, 4), "rescale": (7, 1)},
    "oft": {"oft_R.weight": (2, 5)},
    "ia3": {"weight": (2, 8), "on_input": ()},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_slots_that_do_not_fit_one_another_are_an_invalid_file(kind: str, tmp_path: Path) -> None:
    tensors = {f"{KOHYA}.{suffix}": torch.zeros(shape) for suffix, shape in BROKEN[kind].items()}
    with pytest.raises(InvalidFile):
        lorry.open(write(tmp_path / "a.safetensors", tensors))


def test_vera_takes_the_corner_it_needs_of_what_is_shared() -> None:
    r = Random()
    layer = Layer(
        kind="vera", slots={"lambda_b": r(ROWS), "lambda_d": r(4), "A": r(4, LINEAR[1] + 5), "B": r(ROWS + 9, 4)}
    )
    small = {**layer.slots, "A": layer.slots["A"].cols(0, LINEAR[1]), "B": layer.slots["B"].rows(0, ROWS)}
    kind, weight = host().get("kinds", "vera"), torch.randn(LINEAR)
    assert torch.equal(applied(kind, weight, layer), applied(kind, weight, Layer(kind="vera", slots=small)))
    with pytest.raises(Incompatible, match="shared"):
        applied(kind, torch.randn(ROWS + 20, LINEAR[1]), layer)
