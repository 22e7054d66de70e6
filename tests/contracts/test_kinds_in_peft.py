"""Folders that lorry writes, loaded by peft itself: every kind must do there what it does here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.base import Base
from tests.support.kinds import COLUMNS, CONVOLUTION, CONVOLUTION_LAYERS, LINEAR, LINEAR_LAYERS, ROWS, Random

peft = pytest.importorskip("peft")

NAME = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
OTHER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"

LINEAR_FORMS = (
    "lora", "dora", "loha", "lokr", "lokr-both", "lokr-full", "lokr-full-scaled", "ia3-output", "ia3-input", "oft",
    "oft-exact", "oft-constrained", "oft-shared", "input-boft", "vera",
)  # fmt: skip
CONVOLUTION_FORMS = ("lora", "dora", "loha", "loha-tucker", "lokr", "lokr-full", "lokr-tucker", "oft")


class Model(nn.Module):
    """One module under the name it has in Stable Diffusion."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        at: nn.Module = self
        for name in NAME.split(".")[:-1]:
            at.add_module(name, nn.Module())
            at = at.get_submodule(name)
        at.add_module("to_q", module)


def _module(shape: tuple[int, ...]) -> nn.Linear | nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(COLUMNS, ROWS, 3) if len(shape) > 2 else nn.Linear(COLUMNS, ROWS)


def _baked(adapter: Adapter, module: nn.Linear | nn.Conv2d) -> dict[str, torch.Tensor]:
    tensors = {f"unet.{NAME}.{name}": TensorRef.from_torch(value) for name, value in module.state_dict().items()}
    return dict(lorry.bake(Base(id="sd1", path=Path("memory"), tensors=tensors, files={}), [adapter]))


@pytest.mark.filterwarnings("ignore")  # peft's own
@pytest.mark.parametrize(
    "form",
    [*(("linear", name) for name in LINEAR_FORMS), *(("convolution", name) for name in CONVOLUTION_FORMS)],
    ids="-".join,
)
def test_peft_reads_what_lorry_writes(form: tuple[str, str], tmp_path: Path) -> None:
    table, shape = (LINEAR_LAYERS, LINEAR) if form[0] == "linear" else (CONVOLUTION_LAYERS, CONVOLUTION)
    layer = table[form[1]](Random())
    module = _module(shape)
    adapter = Adapter(base="sd1", layers={ModulePath("unet", NAME): (layer,)})
    wanted = _baked(adapter, module)
    lorry.save(adapter, tmp_path / "folder", "peft")
    model = peft.PeftModel.from_pretrained(Model(module), tmp_path / "folder").merge_and_unload()
    merged = model.get_submodule(NAME)
    for name in ("weight", "bias"):
        assert torch.allclose(getattr(merged, name), wanted[f"unet.{NAME}.{name}"], atol=1e-5, rtol=1e-4), name


@pytest.mark.filterwarnings("ignore")  # peft's own
def test_peft_adds_the_bias_of_a_lora(tmp_path: Path) -> None:
    r, module = Random(), _module(LINEAR)
    layers = (LINEAR_LAYERS["lora"](r), Layer(kind="diff", slots={"diff": r(ROWS)}, param="bias"))
    adapter = Adapter(base="sd1", layers={ModulePath("unet", NAME): layers})
    wanted = _baked(adapter, module)
    lorry.save(adapter, tmp_path / "folder", "peft")
    merged = peft.PeftModel.from_pretrained(Model(module), tmp_path / "folder").merge_and_unload().get_submodule(NAME)
    assert torch.allclose(merged.bias, wanted[f"unet.{NAME}.bias"], atol=1e-6)


@pytest.mark.parametrize(
    "forms", [("lora", "dora"), ("loha", "lora"), ("oft", "oft-exact"), ("lokr-both", "lokr")], ids="-".join
)
def test_layers_that_no_one_configuration_holds_are_told(forms: tuple[str, str], tmp_path: Path) -> None:
    stacks = zip((NAME, OTHER), forms, strict=True)
    layers = {ModulePath("unet", name): (LINEAR_LAYERS[form](Random()),) for name, form in stacks}
    with pytest.raises(NotRepresentable, match="unet"):
        lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "folder", "peft")
    saved = lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "folder", "peft", lossy=True)
    assert len(saved.lost) >= 1
    assert len(lorry.open(tmp_path / "folder").layers) == 2 - len(saved.lost)
