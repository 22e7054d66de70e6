"""Learned weights: the loss of a running model, and what its gradient finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from PIL.Image import Image
from torch import Tensor

import lorry
from lorry.compose.learn import learn
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ir import Adapter, ModulePath
from lorry.plugin import Request

from .helpers import PATHS, adapter, scaled_rows

SAYING = "a flat cat on a teal background"
OTHER = "a flat cupcake on a red background"


def drawn(model: PipelineModel, seed: int = 1) -> Image:
    return model.generate(Request(prompt=SAYING, seed=seed))


def outputs(model: PipelineModel) -> Tensor:
    """Run the component that draws once, with gradients."""
    generator = torch.Generator().manual_seed(5)
    channels = model.pipeline.vae.config.latent_channels
    latents = torch.randn(1, channels, 8, 8, generator=generator)
    return model.denoising_error(latents, SAYING, generator)


def test_the_loss_tells_what_a_picture_shows(model: PipelineModel) -> None:
    picture = drawn(model)
    with torch.no_grad():
        right, wrong = (
            sum(float(model.loss([picture], [words], seed=seed)) for seed in range(3)) for words in (SAYING, OTHER)
        )
        one, again = (float(model.loss([picture], [SAYING], seed=2)) for _ in range(2))
    assert right * 2 < wrong
    assert one == again


@torch.no_grad()
def test_the_loss_of_many_is_the_mean(sd: PipelineModel) -> None:
    pictures = [drawn(sd, seed) for seed in (1, 2)]
    both = float(sd.loss(pictures, [SAYING] * 2, seed=4))
    first = float(sd.loss(pictures[:1], [SAYING], seed=4))
    second = 2 * both - first
    assert 0 < second < 2 * both


def refused(model: PipelineModel, picture: Image) -> list[Callable[[], object]]:
    return [
        lambda: model.loss([], []),
        lambda: model.loss([picture], [SAYING, SAYING]),
        lambda: model.loss([picture.resize((33, 32))], [SAYING]),
        lambda: learn(model, [(adapter(model.base), 1.0)], lambda _: torch.tensor(1.0)),
        lambda: learn(model, [(adapter(model.base), 1.0)], lambda _: outputs(model) * float("nan")),
        lambda: learn(model, [(adapter(model.base), 1.0)], lambda _: outputs(model), steps=0),
        lambda: learn(model, [(adapter(model.base), 1.0)], lambda _: outputs(model), rate=-1.0),
    ]


@pytest.mark.parametrize("case", range(7))
def test_what_makes_no_sense_is_refused_and_leaves_the_model_as_it_was(sd: PipelineModel, case: int) -> None:
    picture = drawn(sd)
    before = {name: [id(each) for each in part.modules()] for name, part in sd.parts.items()}
    with pytest.raises(InvalidArgument):
        refused(sd, picture)[case]()
    assert {name: [id(each) for each in part.modules()] for name, part in sd.parts.items()} == before
    assert sd.attachment is None


@pytest.mark.parametrize("make", ["lora", "rows"])
@pytest.mark.parametrize("by_layer", [True, False])
def test_the_gradient_is_that_of_finite_differences(model: PipelineModel, make: str, *, by_layer: bool) -> None:
    """One step of Adam moves every weight by the rate against the sign of its gradient."""
    made = adapter(model.base) if make == "lora" else adapter(model.base, make=scaled_rows)
    rate = 1e-3
    found = learn(model, [(made, 0.5)], lambda _: outputs(model), steps=1, rate=rate, by_layer=by_layer).weights[0]
    assert found.keys() == made.layers.keys()
    modules = list(made.layers) if by_layer else [None]
    for only in modules:
        slope = difference(model, made, only)
        moved = found[only or next(iter(found))] - 0.5
        if abs(slope) > 1e-5:
            assert moved == pytest.approx(-rate if slope > 0 else rate, rel=1e-2), only


def difference(model: PipelineModel, made: Adapter, only: ModulePath | None, by: float = 0.02) -> float:
    """Return the slope of the loss by the strength of one module's layers, or of all."""

    def loss(strength: float) -> float:
        if only is None:
            model.attach([(made, strength)])
        else:
            alone, rest = (
                Adapter(base=made.base, layers={at: each for at, each in made.layers.items() if (at == only) is same})
                for same in (True, False)
            )
            model.attach([(alone, strength), (rest, 0.5)])
        with torch.no_grad():
            return float(outputs(model))

    slope = (loss(0.5 + by) - loss(0.5 - by)) / (2 * by)
    model.detach()
    return slope


def test_the_weights_that_made_something_are_found_again(model: PipelineModel) -> None:
    """Two adapters, with a weight on every module: what they drew tells which."""
    pair = [adapter(model.base, seed=0), adapter(model.base, seed=50)]
    where = [each for each in pair[0].layers if each.component in ("unet", "transformer")]
    pair = [Adapter(base=each.base, layers={at: each.layers[at] for at in where}) for each in pair]
    wanted = [{at: 0.2 + 0.3 * (number + side) for number, at in enumerate(where)} for side in (0, 1)]

    alone = [Adapter(base=each.base, layers={at: each.layers[at]}) for each in pair for at in where]
    model.attach([(each, wanted[at // len(where)][next(iter(each.layers))]) for at, each in enumerate(alone)])
    with torch.no_grad():
        targets = [activations(model, where, seed) for seed in range(3)]
    model.detach()

    def loss(step: int) -> Tensor:
        pairs = zip(activations(model, where, step % 3), targets[step % 3], strict=True)
        return torch.stack([(one - two).square().mean() for one, two in pairs]).sum()

    found = learn(model, [(each, 1.0) for each in pair], loss, steps=150, rate=0.05)
    assert found.losses[-1] < found.losses[0] / 100
    for weights, right in zip(found.weights, wanted, strict=True):
        assert weights == pytest.approx(right, abs=0.05)


def activations(model: PipelineModel, where: Sequence[ModulePath], seed: int) -> list[Tensor]:
    """Return what each module makes of random inputs."""
    told = []
    for path in where:
        module = model.parts[path.component].get_submodule(path.name)
        shape = dict(PATHS[model.base])[str(path)]
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(2, shape[1], *(6 for _ in shape[2:]), generator=generator)
        told.append(module(inputs))
    return told


def test_what_is_learned_can_be_merged(sd: PipelineModel) -> None:
    pair = [adapter(sd.base, seed=0), adapter(sd.base, seed=50)]
    found = learn(sd, [(each, 0.5) for each in pair], lambda _: outputs(sd), steps=2)
    merged = lorry.merge(pair, weights=found.selections)
    for at, layers in merged.layers.items():
        expected = sum(
            weights[at] * layer.scale * (layer.slots["up"].torch().flatten(1) @ layer.slots["down"].torch().flatten(1))
            for weights, each in zip(found.weights, pair, strict=True)
            for layer in each.layers[at]
        )
        (layer,) = layers
        delta = layer.scale * (layer.slots["up"].torch().flatten(1) @ layer.slots["down"].torch().flatten(1))
        torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-5)


def test_pictures_tell_which_adapter_made_them(sd: PipelineModel) -> None:
    """Of two adapters, the one the pictures were drawn with gains weight."""
    right, wrong = adapter("sd1", seed=0), adapter("sd1", seed=50)
    sd.attach([(right, 1.0)])
    pictures = [drawn(sd, seed) for seed in range(2)]
    sd.detach()
    found = learn(
        sd,
        [(right, 0.5), (wrong, 0.5)],
        lambda step: sd.loss(pictures, [SAYING] * 2, seed=step),
        by_layer=False,
        steps=25,
        rate=0.05,
    )
    one, other = (next(iter(each.values())) for each in found.weights)
    assert one > other + 0.2
