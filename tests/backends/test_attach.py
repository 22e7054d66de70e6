"""Adapters on the running bases: exact at zero, exact after detach, and the same as baked weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import Incompatible, InvalidArgument, Unmapped
from lorry.ir import Adapter, Layer, ModulePath, Report
from lorry.ops.baking.bake import bake
from lorry.ops.baking.write import write_base
from lorry.ops.bases.base import open_base
from lorry.plugin.backend import Load
from lorry.plugin.host import Host
from lorry_plugins.backends.flux.model import load as load_flux
from lorry_plugins.backends.sd.model import load as load_sd
from lorry_plugins.backends.toybox import bases

from .helpers import PATHS, PROMPT, adapter, difference, lora, modules_of, scaled_rows

LOAD: Mapping[str, Load] = {"sd1": load_sd, "flux1": load_flux}

KINDS = [pytest.param(lora, id="stacked"), pytest.param(scaled_rows, id="composed")]


@pytest.mark.parametrize("make", KINDS)
def test_strength_zero_is_the_base_bit_for_bit(model: PipelineModel, make: Callable[..., Layer]) -> None:
    before = model.generate(PROMPT)
    model.attach([(adapter(model.base, make=make), 0.0)])
    assert model.generate(PROMPT).tobytes() == before.tobytes()


@pytest.mark.parametrize("make", KINDS)
def test_detach_gives_back_the_very_objects_and_the_picture(model: PipelineModel, make: Callable[..., Layer]) -> None:
    before, objects = model.generate(PROMPT), modules_of(model)
    model.attach([(adapter(model.base, make=make), 1.0)])
    assert modules_of(model) != objects
    assert difference(model.generate(PROMPT), before) > 1
    model.detach()
    assert modules_of(model) == objects
    assert model.generate(PROMPT).tobytes() == before.tobytes()


def test_strengths_change_the_picture_without_building_anything(model: PipelineModel) -> None:
    model.attach([(adapter(model.base, seed=0), 1.0), (adapter(model.base, seed=50, make=scaled_rows), 0.0)])
    objects = modules_of(model)
    pictures = []
    for values in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        model.strengths(values)
        pictures.append(model.generate(PROMPT))
    assert modules_of(model) == objects
    assert min(difference(pictures[a], pictures[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.5
    model.strengths([1.0, 0.0])
    assert model.generate(PROMPT).tobytes() == pictures[0].tobytes()


def test_each_adapter_answers_to_its_own_strength(model: PipelineModel) -> None:
    """Also where adapters touch different modules, with different ranks."""
    paths = [(ModulePath(*name.split(".", 1)), shape) for name, shape in PATHS[model.base]]
    adapters = [
        Adapter(base=model.base, layers={path: (lora(shape, rank=2 + at, seed=at),) for path, shape in paths[at::2]})
        for at in (1, 0)
    ]
    alone = []
    for each in adapters:
        model.attach([(each, 0.8)])
        alone.append(model.generate(PROMPT).tobytes())
    model.attach([(each, 0.0) for each in adapters])
    for at, strengths in enumerate(([0.8, 0.0], [0.0, 0.8])):
        model.strengths(strengths)
        assert model.generate(PROMPT).tobytes() == alone[at]


def test_order_of_adapters_makes_no_difference(model: PipelineModel) -> None:
    one, other = adapter(model.base, seed=0), adapter(model.base, seed=50)
    model.attach([(one, 0.7), (other, 0.4)])
    first = model.generate(PROMPT)
    model.attach([(other, 0.4), (one, 0.7)])
    assert difference(model.generate(PROMPT), first) < 0.1


def test_one_adapter_at_two_halves_is_the_adapter(model: PipelineModel) -> None:
    both = adapter(model.base)
    model.attach([(both, 1.0)])
    whole = model.generate(PROMPT)
    model.attach([(both, 0.25), (both, 0.75)])
    assert difference(model.generate(PROMPT), whole) < 0.1


def test_several_layers_of_several_kinds_on_one_module(model: PipelineModel) -> None:
    stacked, composed = adapter(model.base), adapter(model.base, make=scaled_rows)
    together = replace(
        stacked, layers={path: (*layers, *composed.layers[path]) for path, layers in stacked.layers.items()}
    )
    model.attach([(together, 0.5)])
    one = model.generate(PROMPT)
    model.attach([(stacked, 0.5), (composed, 0.5)])
    assert difference(model.generate(PROMPT), one) < 0.1


def test_attaching_again_replaces_what_is_attached(model: PipelineModel) -> None:
    objects = modules_of(model)
    model.attach([(adapter(model.base, seed=50), 1.0)])
    fresh = model.generate(PROMPT)
    model.attach([(adapter(model.base), 1.0)])
    model.attach([(adapter(model.base, seed=50), 1.0)])
    assert model.generate(PROMPT).tobytes() == fresh.tobytes()
    model.attach([])
    assert modules_of(model) == objects


def test_twenty_rounds_leave_nothing_behind(model: PipelineModel) -> None:
    objects = modules_of(model)
    for _ in range(20):
        model.attach([(adapter(model.base), 1.0), (adapter(model.base, make=scaled_rows), 0.5)])
        model.detach()
    assert modules_of(model) == objects


def test_baked_weights_draw_what_attached_adapters_draw(model: PipelineModel, plugins: Host, tmp_path: Path) -> None:
    name = {"sd1": "toybox-sd", "flux1": "toybox-flux"}[model.base]
    adapters = [(adapter(model.base), 0.8), (adapter(model.base, seed=50, make=scaled_rows), 0.5)]
    before = model.generate(PROMPT)
    model.attach(adapters)
    attached = model.generate(PROMPT)
    folder = tmp_path / name
    write_base(bake(open_base(bases()[name]), adapters, plugins=plugins), folder)
    other = LOAD[model.base](folder, "cpu", None)
    drawn = other.generate(PROMPT)
    other.close()
    assert difference(attached, before) > 1
    assert difference(attached, drawn) < 0.5


def _with(base: str, name: str, layer: Layer) -> Adapter:
    """Add one layer after good ones, so that a half-done attach would show."""
    good = adapter(base)
    return replace(good, layers={**good.layers, ModulePath(*name.split(".", 1)): (layer,)})


REFUSED: dict[str, tuple[Callable[[str], Adapter], str]] = {
    "another base": (lambda base: replace(adapter(base), base="sdxl"), "made for sdxl"),
    "unknown component": (lambda base: _with(base, "prior.to_q", lora((8, 8))), "prior"),
    "unknown module": (lambda base: _with(base, "text_encoder.layers.99.to_q", lora((8, 8))), "layers.99.to_q"),
    "another shape": (
        lambda base: _with(base, "text_encoder.text_model.encoder.layers.1.mlp.fc1", lora((384, 64))),
        r"\[384, 64\].*\[384, 128\]",
    ),
    "another shape, composed": (
        lambda base: _with(base, "text_encoder.text_model.encoder.layers.1.mlp.fc1", scaled_rows((7, 1))),
        r"\[7, -1\].*\[384, 128\]",
    ),
    "no such parameter": (
        lambda base: _with(base, "vae.decoder.conv_in", replace(scaled_rows((64,)), param="magnitude")),
        "magnitude",
    ),
    "changes shapes": (
        lambda base: _with(base, "vae.decoder.conv_in", replace(scaled_rows((64,)), kind="wider")),
        "changes the shape",
    ),
    "depends on the timestep": (
        lambda base: _with(base, "vae.decoder.conv_in", replace(scaled_rows((64,)), kind="timed")),
        "timestep",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_adapter_leaves_the_model_as_it_was(model: PipelineModel, case: str) -> None:
    make, message = REFUSED[case]
    model.attach([(adapter(model.base), 1.0)])
    attached = model.generate(PROMPT)
    with pytest.raises(Incompatible, match=message):
        model.attach([(adapter(model.base, seed=50), 1.0), (make(model.base), 1.0)])
    assert model.generate(PROMPT).tobytes() == attached.tobytes()


def test_a_partly_understood_adapter_is_used_only_when_asked(model: PipelineModel) -> None:
    partly = replace(adapter(model.base), report=Report(unmapped=(("strange.key", "no kind spells it"),)))
    objects = modules_of(model)
    with pytest.raises(Unmapped, match=r"strange\.key"):
        model.attach([(partly, 1.0)])
    assert modules_of(model) == objects
    model.attach([(partly, 1.0)], partial=True)
    assert modules_of(model) != objects


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [float("nan")], [float("inf")]], ids=str)
def test_strengths_that_make_no_sense_are_refused(model: PipelineModel, values: list[float]) -> None:
    model.attach([(adapter(model.base), 1.0)])
    with pytest.raises(InvalidArgument):
        model.strengths(values)
