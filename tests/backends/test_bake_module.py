"""Adapters in the weights of a live module, and out again to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import lorry
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ir import Layer, ModulePath
from lorry.plugin.host import Host
from lorry_plugins.backends.toybox import bases

from .helpers import adapter, lora, modules_of, scaled_rows, token, with_tokens


def weights(model: PipelineModel) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{key}": each.clone()
        for part, module in model.parts.items()
        for key, each in module.state_dict().items()
    }


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """Return the names whose tensors differ."""
    assert one.keys() == other.keys()
    return {name for name, each in one.items() if not torch.equal(each, other[name])}


@pytest.mark.parametrize("make", [lora, scaled_rows])
def test_a_live_model_is_the_baked_base_until_it_is_undone(
    make: Callable[..., Layer], model: PipelineModel, plugins: Host
) -> None:
    adapters = [(adapter(model.base, make=make), 0.7), (adapter(model.base, seed=50), -0.2)]
    before, objects = weights(model), modules_of(model)
    on_disk = lorry.bake(
        lorry.open_base(bases()[f"toybox-{'sd' if model.base == 'sd1' else 'flux'}"]), adapters, plugins=plugins
    )
    with lorry.bake_module(model.parts, adapters, plugins=plugins):
        changed = equal(weights(model), before)
        assert len(changed) == len(adapters[0][0].layers)
        assert modules_of(model) == objects
        live = {name.replace("text_model.", ""): each for name, each in weights(model).items()}
        for name in on_disk.changes:
            torch.testing.assert_close(
                live[name.replace("text_model.", "")], on_disk[name].float(), rtol=1e-3, atol=1e-3
            )
    assert not equal(weights(model), before)


def linear(dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """A module with one of the names that a UNet has."""
    unet = nn.Module()
    at = unet
    *path, last = ["mid_block", "attentions", "0", "transformer_blocks", "0", "attn1", "to_q"]
    for name in path:
        at.add_module(name, nn.Module())
        at = at.get_submodule(name)
    at.add_module(last, nn.Linear(96, 96, dtype=dtype))
    return unet


def one_layer() -> lorry.Adapter:
    whole = adapter("sd1")
    path = ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
    return replace(whole, layers={path: whole.layers[path]})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_one_component_is_enough_in_any_dtype(dtype: torch.dtype) -> None:
    unet = linear(dtype)
    before = {name: each.clone() for name, each in unet.state_dict().items()}
    baked = lorry.bake_module(unet, [one_layer()])
    assert {name for name, each in unet.state_dict().items() if not torch.equal(each, before[name])} == {
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    }
    baked.undo()
    assert all(torch.equal(each, before[name]) for name, each in unet.state_dict().items())
    baked.undo()


def test_what_came_later_is_undone_first() -> None:
    unet = linear()
    before = {name: each.clone() for name, each in unet.state_dict().items()}
    one = lorry.bake_module(unet, [one_layer()])
    two = lorry.bake_module(unet, [(one_layer(), 0.5)])
    with pytest.raises(Conflict, match="undo those first"):
        one.undo()
    two.undo()
    one.undo()
    assert all(torch.equal(each, before[name]) for name, each in unet.state_dict().items())


def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was() -> None:
    unet = linear()
    before = {name: each.clone() for name, each in unet.state_dict().items()}
    good, path = one_layer(), ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
    spoilt = replace(good, layers={path: (lora((96, 96), size=float("nan")),)})
    for wrong, error in [
        (replace(good, layers={path: (lora((64, 96)),)}), Incompatible),
        (adapter("sd1"), Incompatible),
        (adapter("flux1"), Incompatible),
        (with_tokens(good, token("ohwx")), Incompatible),
        (spoilt, lorry.LorryError),
    ]:
        with pytest.raises(error):
            lorry.bake_module(unet, [good, wrong])
        assert all(torch.equal(each, before[name]) for name, each in unet.state_dict().items())
    with pytest.raises(InvalidArgument):
        lorry.bake_module(unet, [])
