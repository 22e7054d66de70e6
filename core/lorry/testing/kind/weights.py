"""What a layer does to a weight."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lorry.plugin.kind import fits
from lorry.testing.kind.trial import EXACT, ROUNDED, Trial
from lorry.testing.laws import close, expect


def rank_is_a_number(trial: Trial) -> None:
    """rank(slots) is a whole number that is not negative."""
    if trial.kind.rank:
        rank = trial.kind.rank(trial.layer.slots)
        expect(isinstance(rank, int) and rank >= 0, f"the rank is {rank!r}")


def target_is_the_weights_shape(trial: Trial) -> None:
    """target(slots) is the shape of the weight, as far as it is told, and not that of a larger weight."""
    if trial.kind.target is None:
        return
    target, shape = trial.kind.target(trial.layer.slots), tuple(trial.weight.shape)
    expect(fits(target, shape), f"the target is {list(target)}")
    if any(size != -1 for size in target):
        larger = (shape[0] + 1, shape[1] + 1, *shape[2:])
        expect(
            not fits(target, larger), f"the target is {list(target)}, which a weight of {list(larger)} would fit too"
        )


def apply_makes_a_new_weight(trial: Trial) -> None:
    """apply(weight, layer) is a new float32 weight of the same shape (a larger one if changes_shape)."""
    if trial.kind.apply is None:
        return
    before, shape = trial.weight.clone(), trial.weight.shape
    made = trial.applied()
    expect(made.dtype == torch.float32, f"it is {made.dtype}")
    same = made.shape == shape
    larger = made.ndim == trial.weight.ndim and all(a >= b for a, b in zip(made.shape, shape, strict=True))
    expect(same or (larger and trial.kind.changes_shape), f"its shape is {list(made.shape)}")
    expect(torch.equal(trial.weight, before), "it wrote into the weight it was given")
    expect(not (same and torch.allclose(made, before, atol=1e-7)), "it changes nothing")


def half_precision_weights_are_widened(trial: Trial) -> None:
    """A weight in half precision gives what the same numbers in float32 give: arithmetic is done there."""
    if trial.kind.apply:
        half = trial.weight.half()
        close(trial.applied(weight=half), trial.applied(weight=half.float()), EXACT, "what becomes of a half weight")


def factors_are_what_is_added(trial: Trial) -> None:
    """scale · up · down of factors(layer) is what apply adds to any weight."""
    if trial.kind.factors and trial.kind.apply:
        factors = trial.kind.factors(trial.layer)
        delta = trial.layer.scale * (factors.up.double() @ factors.down.double())
        wanted = trial.weight + delta.reshape(trial.weight.shape)
        close(trial.applied(), wanted, EXACT, "the weight with the layer applied")


def build_makes_that_very_delta(trial: Trial) -> None:
    """build(factors, shape) is a layer of scale 1 that does what the factors say."""
    if trial.kind.factors and trial.kind.build:
        factors = trial.kind.factors(trial.layer)
        built = trial.kind.build(factors, tuple(trial.weight.shape))
        expect(built.scale == 1, f"its scale is {built.scale}")
        again = trial.kind.factors(built)
        close(again.up @ again.down, factors.up @ factors.down, EXACT, "up · down of what was built")


def needs_weight_is_honest(trial: Trial) -> None:
    """A kind that does not say needs_weight adds the same to every weight, whatever stands in it."""
    if trial.kind.apply and not trial.kind.needs_weight:
        other = trial.weight.flip(0) * 2
        close(
            trial.applied(weight=other) - other,
            trial.applied() - trial.weight,
            EXACT,
            "what is added to another weight",
        )


def scale_is_linear(trial: Trial) -> None:
    """Where alpha divided by the rank scales a layer that adds to the weight, twice the scale adds twice as much."""
    if trial.kind.factors and trial.kind.apply:
        slots, options = trial.layer.slots, trial.layer.options
        twice = type(trial.layer)(kind=trial.kind.name, slots=slots, scale=2 * trial.layer.scale, options=options)
        delta = trial.applied() - trial.weight
        close(trial.applied(twice) - trial.weight, 2 * delta, ROUNDED, "what twice the scale adds")


LAWS: tuple[Callable[[Trial], None], ...] = (
    rank_is_a_number,
    target_is_the_weights_shape,
    apply_makes_a_new_weight,
    half_precision_weights_are_widened,
    factors_are_what_is_added,
    build_makes_that_very_delta,
    needs_weight_is_honest,
    scale_is_linear,
)
