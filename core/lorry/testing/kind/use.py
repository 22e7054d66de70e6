"""Layers in use: baked into weights, and beside a running module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import lorry
from lorry.compose.attachment import Attachment
from lorry.errors import Incompatible
from lorry.testing.kind.trial import PATH, ROUNDED, Trial
from lorry.testing.laws import close


def strength_is_linear(trial: Trial) -> None:
    """At any strength t the weight is W + t · (apply(W) - W)."""
    for strength in (0.5, -2.0):
        baked = lorry.bake(trial.base(), [(trial.adapter, strength)], plugins=trial.plugins)[f"{PATH}.weight"]
        made = trial.applied()
        wide = torch.zeros_like(made)
        wide[tuple(slice(size) for size in trial.weight.shape)] = trial.weight
        close(baked, wide + strength * (made - wide), ROUNDED, f"the weight at strength {strength:g}")


def output_slots_multiply_the_bias(trial: Trial) -> None:
    """What multiplies the output multiplies the bias as apply does, and nothing else touches it."""
    bias = trial.weight.flatten(1)[:, 0].clone()
    baked = lorry.bake(trial.base(bias), [trial.adapter], plugins=trial.plugins)[f"{PATH}.bias"]
    touched = trial.kind.multiplies_output(trial.layer)
    close(baked, trial.applied(weight=bias) if touched else bias, ROUNDED, "the bias")


def a_running_module_gets_the_baked_weights(trial: Trial) -> None:
    """A running module with the layer attached puts out what the baked weight puts out, and is itself again after."""
    if trial.kind.changes_shape:
        return  # a running module is not widened
    rows, columns, *kernel = trial.weight.shape
    module = nn.Conv2d(columns, rows, (kernel[0], kernel[1])) if kernel else nn.Linear(columns, rows)
    module.weight = nn.Parameter(trial.weight.clone())
    model = nn.ModuleDict({"block": nn.ModuleDict({"module": module})})
    x = torch.ones(2, columns, *(size + 1 for size in kernel)).cumsum(1) / columns
    before = module(x)
    bias = None if module.bias is None else module.bias.detach()
    baked = lorry.bake(trial.base(bias), [(trial.adapter, 0.7)], plugins=trial.plugins)
    attachment = Attachment({PATH.component: model}, {}, [trial.adapter], trial.plugins)
    attachment.set([0.7])
    attachment.install()
    seen = model.get_submodule(PATH.name)(x)
    attachment.remove()
    bare = nn.functional.conv2d if kernel else nn.functional.linear
    wanted = bare(x, baked[f"{PATH}.weight"], baked[f"{PATH}.bias"])
    close(seen.detach(), wanted, ROUNDED * 10, "what the running module puts out")
    close(model.get_submodule(PATH.name)(x).detach(), before.detach(), 0.0, "what it puts out once detached")


def bake_refuses_what_the_timestep_decides(trial: Trial) -> None:
    """What depends on the timestep is refused where it would be added to a weight."""
    try:
        lorry.bake(trial.base(), [trial.adapter], plugins=trial.plugins)
    except Incompatible:
        return
    raise AssertionError("bake takes it")


LAWS: tuple[Callable[[Trial], None], ...] = (
    strength_is_linear,
    output_slots_multiply_the_bias,
    a_running_module_gets_the_baked_weights,
)
TIMESTEP_LAWS: tuple[Callable[[Trial], None], ...] = (bake_refuses_what_the_timestep_decides,)
