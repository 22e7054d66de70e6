"""What single kinds of layers do and cannot do; what they all promise is in tests/contracts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

import lorry
from lorry.errors import Incompatible, InvalidFile, NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.bases.base import Base
from lorry.ops.reading.names import Target
from lorry.ops.writing import views
from lorry.ops.writing.write import encode
from lorry.plugin import Kind
from lorry.plugin.host import host
from tests.support.files import KOHYA, write
from tests.support.kinds import CONVOLUTION, CONVOLUTION_LAYERS, LINEAR, LINEAR_LAYERS, ROWS, Make, Random

FORMS: Mapping[str, tuple[Make, tuple[int, ...]]] = {
    **{f"{name}-linear": (make, LINEAR) for name, make in LINEAR_LAYERS.items()},
    **{f"{name}-convolution": (make, CONVOLUTION) for name, make in CONVOLUTION_LAYERS.items()},
}
PATH = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
PARTS = Target("qkv", ("q", "k", "v"), (1, 1, 1), flip=False)

WHOLE = {"dora-columns", "diag-oft-constrained", "boft", "vera", "lokr-dora", "loha-dora-columns", "lokr-dora-columns"}
"""Forms that say something of more rows than a part has, and need the weight to say it."""

KOHYA_CANNOT = {"ia3-output", "ia3-input", "input-boft", "vera", "oft", "oft-shared", "oft-exact", "oft-constrained"}
"""Forms that only peft's configuration can tell."""

PEFT_CANNOT = {
    "dora-columns", "loha-dora", "lokr-dora", "loha-dora-columns", "lokr-dora-columns", "diff",
    "diff-scaled", "set", "ia3-rows", "ia3-columns", "glora",
    "diag-oft", "diag-oft-rescaled", "diag-oft-constrained", "boft", "oft-scaled", "oft-onetrainer",
}  # fmt: skip


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


@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_a_layer_that_speaks_of_all_rows_is_not_split(name: str) -> None:
    kind, layer, _ = made(f"{name}-linear")
    if name in WHOLE:
        with pytest.raises(Incompatible):
            views.split(layer, kind, PARTS)
    else:
        assert len(views.split(layer, kind, PARTS)) == 3


@pytest.mark.parametrize(("dialect", "cannot"), [("kohya", KOHYA_CANNOT), ("peft", PEFT_CANNOT)])
@pytest.mark.parametrize("form", FORMS)
def test_what_a_dialect_cannot_hold_is_refused_by_name(form: str, dialect: str, cannot: set[str]) -> None:
    _, layer, _ = made(form)
    if form.rpartition("-")[0] in cannot:
        with pytest.raises(NotRepresentable, match=PATH.name):
            encode(adapter(layer), host().dialects()[dialect])
    else:
        assert encode(adapter(layer), host().dialects()[dialect])[0].tensors


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


def test_widening_adds_to_zeros() -> None:
    r = Random()
    layer = Layer(kind="wide-lora", slots={"down": r(2, 20), "up": r(ROWS, 2)})
    weight = torch.randn(LINEAR)
    wide = lorry.bake(base(weight, torch.zeros(ROWS)), [(adapter(layer), 0.5)])[f"{PATH}.weight"]
    delta = layer.slots["up"].torch() @ layer.slots["down"].torch()
    assert torch.allclose(wide, nn.functional.pad(weight, (0, 4)) + 0.5 * delta, atol=1e-5)


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
