"""Weights that `lorry merge` learns: from an adapter that the result shall resemble, or from pictures it shall draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lorry.cli.options import Decorator
from lorry.cli.output import count, echo, progress
from lorry.errors import Incompatible, InvalidArgument, NotFound

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorry.compose.module_weights import ModuleWeights
    from lorry.ir.adapter import Adapter
    from lorry.ops.bases.base import Base

like: Decorator = click.option(
    "--like", metavar="ADAPTER", help="Learn the weights with which the result comes closest to this one."
)
pictures: Decorator = click.option(
    "--pictures",
    type=click.Path(),
    metavar="FOLDER",
    help="Learn the weights with which --base draws these pictures best; what each shows stands beside it, as .txt.",
)
by_layer: Decorator = click.option(
    "--by-layer", is_flag=True, help="With --like or --pictures, learn a weight for every module of every adapter."
)
steps: Decorator = click.option(
    "--steps",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="With --pictures, how often to look at them all.",
)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Weighted = Sequence[tuple["Adapter", float]]


class Learning(NamedTuple):
    """What was learned, and how far from what was asked the result is: in words, as fields of JSON, of the recipe."""

    found: ModuleWeights
    said: str
    told: Mapping[str, Any]
    recipe: Mapping[str, Any] = {}

    def show(self, names: Sequence[str]) -> None:
        """Print the weights of every adapter."""
        for name, weights in zip(names, self.found.weights, strict=True):
            low, high = min(weights.values(), default=0.0), max(weights.values(), default=0.0)
            echo(f"{name}: weight {low:.4g}" if low == high else f"{name}: weights from {low:.4g} to {high:.4g}")
        echo(self.said)


def learn_weights(
    pairs: Weighted,
    weights: Sequence[str],
    *,
    like: str | None,
    pictures: str | None,
    every: bool,
    turns: int,
    base: Base | None,
    device: str,
) -> Learning | None:
    """Learn as the options ask, None where they do not; raise InvalidArgument where they make no sense together."""
    if like and pictures:
        raise InvalidArgument("weights are learned --like an adapter or from --pictures, not both")
    if like:
        return _like_adapter(pairs, like, weights, every=every, base=base)
    if pictures:
        return _like_pictures(pairs, Path(pictures), weights, every=every, turns=turns, base=base, device=device)
    if every:
        raise InvalidArgument("--by-layer says how to learn weights; say from what with --like or --pictures")
    return None


def _like_adapter(pairs: Weighted, like: str, weights: Sequence[str], *, every: bool, base: Base | None) -> Learning:
    from lorry.compose.solve import solve
    from lorry.ops.headers.recipe import told_adapter
    from lorry.ops.reading.read import open_adapter

    if weights or any(weight != 1 for _, weight in pairs):
        raise InvalidArgument("--like learns the weights; give none, neither with --weights nor behind a colon")
    target = open_adapter(like, base=base)
    solved = solve([adapter for adapter, _ in pairs], target, by_layer=every, base=base)
    said = f"relative distance from the target: {solved.error:.4g}"
    return Learning(solved, said, {"distance": solved.error}, {"like": told_adapter(target)})


def _like_pictures(
    pairs: Weighted, folder: Path, weights: Sequence[str], *, every: bool, turns: int, base: Base | None, device: str
) -> Learning:
    from lorry.compose.learn import learn
    from lorry.compose.pipeline_model import PipelineModel
    from lorry.ops.baking.run import run

    if weights:
        raise InvalidArgument("--pictures learns the weights; where to begin may stand behind a colon, not --weights")
    if base is None:
        raise InvalidArgument("--pictures needs the model that draws them; say which with --base")
    drawn, words = _read(folder)
    with run(base, device=device) as model:
        if not isinstance(model, PipelineModel):
            raise Incompatible(f"the backend of {base.id} is no PipelineModel, and tells no gradient")
        losses = progress(range(turns), turns, "learning")
        found = learn(model, pairs, lambda _: model.loss(drawn, words, seed=next(losses)), by_layer=every, steps=turns)
        next(losses, None)  # ends the bar
    first, last = (sum(each) / len(each) for each in (found.losses[:_FEW], found.losses[-_FEW:]))
    said = f"loss over {count(len(drawn), 'picture')}: {first:.4g} at first, {last:.4g} at last"
    return Learning(found, said, {"losses": list(found.losses)})


_FEW = 10
"""Losses that are averaged: each is at other noise."""


def _read(folder: Path) -> tuple[list[Image], list[str]]:
    from PIL import Image

    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; give one with pictures, and a .txt of what it shows beside each")
    found = sorted(each for each in folder.iterdir() if each.suffix.lower() in _SUFFIXES)
    if not found:
        raise NotFound(f"{folder} has no pictures ({', '.join(_SUFFIXES)})")
    texts = [each.with_suffix(".txt") for each in found]
    missing = [each.name for each in texts if not each.is_file()]
    if missing:
        raise NotFound(
            f"{folder} lacks {missing[0]}, which says what the picture shows (of {len(missing)} that lack one)"
        )
    return [Image.open(each).convert("RGB") for each in found], [
        each.read_text(encoding="utf-8").strip() for each in texts
    ]
