"""Folders that lorry writes, loaded by peft itself: every kind must do there what it does here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft as untyped_peft
import pytest
import torch

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath
from lorry.ops.judging.loaders import loads
from lorry.plugin.loader import NOT
from tests.support.kinds import CONVOLUTION, CONVOLUTION_LAYERS, LINEAR, LINEAR_LAYERS, ROWS, Random

from .adapters import adapter
from .pipelines import Toy, own_name
from .single import NAME, Model, baked, module_of

peft: Any = untyped_peft

OTHER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"

LINEAR_FORMS = (
    "lora", "dora", "loha", "lokr", "lokr-both", "lokr-full", "lokr-full-scaled", "ia3-output", "ia3-input", "oft",
    "oft-exact", "oft-constrained", "oft-shared", "input-boft", "vera",
)  # fmt: skip
CONVOLUTION_FORMS = ("lora", "dora", "loha", "loha-tucker", "lokr", "lokr-full", "lokr-tucker", "oft")


@pytest.mark.filterwarnings("ignore")  # peft's own
@pytest.mark.parametrize(
    "form",
    [*(("linear", name) for name in LINEAR_FORMS), *(("convolution", name) for name in CONVOLUTION_FORMS)],
    ids="-".join,
)
def test_peft_reads_what_lorry_writes(form: tuple[str, str], tmp_path: Path) -> None:
    table, shape = (LINEAR_LAYERS, LINEAR) if form[0] == "linear" else (CONVOLUTION_LAYERS, CONVOLUTION)
    layer = table[form[1]](Random())
    module = module_of(shape)
    adapter = Adapter(base="sd1", layers={ModulePath("unet", NAME): (layer,)})
    wanted = baked(adapter, module)
    lorry.save(adapter, tmp_path / "folder", "peft")
    model = peft.PeftModel.from_pretrained(Model(module), tmp_path / "folder").merge_and_unload()
    merged = model.get_submodule(NAME)
    for name in ("weight", "bias"):
        assert torch.allclose(getattr(merged, name), wanted[f"unet.{NAME}.{name}"], atol=1e-5, rtol=1e-4), name


@pytest.mark.filterwarnings("ignore")  # peft's own
def test_peft_adds_the_bias_of_a_lora(tmp_path: Path) -> None:
    r, module = Random(), module_of(LINEAR)
    layers = (LINEAR_LAYERS["lora"](r), Layer(kind="diff", slots={"diff": r(ROWS)}, param="bias"))
    adapter = Adapter(base="sd1", layers={ModulePath("unet", NAME): layers})
    wanted = baked(adapter, module)
    lorry.save(adapter, tmp_path / "folder", "peft")
    merged = peft.PeftModel.from_pretrained(Model(module), tmp_path / "folder").merge_and_unload().get_submodule(NAME)
    assert torch.allclose(merged.bias, wanted[f"unet.{NAME}.bias"], atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # peft's own
@pytest.mark.parametrize(
    ("base", "component"),
    [("sd1", "unet"), ("sdxl", "text_encoder_2"), ("flux1", "transformer"), ("flux1", "text_encoder_2")],
)
def test_peft_finds_every_module(base: str, component: str, toys: Callable[[str], Toy], tmp_path: Path) -> None:
    toy = toys(base)
    made = adapter(toy.base, "peft", "lora", (0.5, 2.0, 1.0), rf"^{component}\.")
    folder = lorry.save(made, tmp_path / "folder", "peft").path
    model = copy.deepcopy(toy.models[component])
    merged = peft.PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    wanted = toy.baked(made)
    assert len(made.layers) > 5
    for key, tensor in merged.items():
        name = own_name(component, key)
        if name in wanted:
            assert torch.allclose(tensor, wanted[name], atol=1e-4, rtol=1e-4), name


def test_clip_under_transformers_5_is_told_as_what_peft_does_not_load(
    toys: Callable[[str], Toy], tmp_path: Path
) -> None:
    toy = toys("sd1")
    made = adapter(toy.base, "peft", "lora", modules=r"^text_encoder\.")
    folder = lorry.save(made, tmp_path / "folder", "peft").path
    told = next(each for each in loads(lorry.open(folder)) if each.tool == "peft")
    assert told.verdict == NOT
    with pytest.raises(ValueError, match="Target modules .* not found"):
        peft.PeftModel.from_pretrained(copy.deepcopy(toy.models["text_encoder"]), folder)


@pytest.mark.parametrize(
    "forms", [("lora", "dora"), ("loha", "lora"), ("oft", "oft-exact"), ("lokr-both", "lokr")], ids="-".join
)
def test_layers_that_no_one_configuration_holds_are_told(forms: tuple[str, str], tmp_path: Path) -> None:
    stacks = zip((NAME, OTHER), forms, strict=True)
    layers = {ModulePath("unet", name): (LINEAR_LAYERS[form](Random(rank=1)),) for name, form in stacks}
    with pytest.raises(NotRepresentable, match="unet"):
        lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "folder", "peft")
    saved = lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "folder", "peft", lossy=True)
    assert len(saved.lost) >= 1
    assert len(lorry.open(tmp_path / "folder").layers) == 2 - len(saved.lost)
