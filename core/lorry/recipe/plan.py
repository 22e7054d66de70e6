"""A plan: every step that a recipe needs, in order, with what goes into each; nothing is done yet."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorry.errors import InvalidArgument
from lorry.recipe.checking import check
from lorry.recipe.document import Input, Model, Recipe, canonical
from lorry.recipe.finding import Finder, Found

STEP_FILE: Final = re.compile(r"[a-z-]+-[0-9a-f]{8}(\.\w+)?")
"""Names that results of steps have on the way, made of `Step.name`: they tell people nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation: its recipe, and where each input and model comes from: found, or made by another step.

    `id` is a hash of the recipe and of the content of all that goes in: steps of one id make the same tensors. `file`
    is the name that the result had when it was made before, so that whoever takes it tells the same; "" for none.
    """

    id: str
    recipe: Recipe
    inputs: tuple[Found | Step, ...]
    models: Mapping[str, Found | Step]
    file: str = ""

    @property
    def name(self) -> str:
        """A name for people and files."""
        return f"{self.recipe.op}-{self.id[:8]}"

    def sources(self) -> Iterator[Found | Step]:
        """Yield all that goes in."""
        yield from self.inputs
        yield from self.models.values()


def plan(recipe: Recipe, finder: Finder) -> tuple[Step, ...]:
    """Return the steps in the order in which they can be done, the recipe's own last; equal ones stand once.

    Raises NotFound for what goes in and is nowhere, VerificationFailed where another file was given for it, and
    UnknownName and InvalidArgument for a method, a format or a value that means nothing here.
    """
    steps: dict[str, Step] = {}
    _step(recipe, finder, steps)
    finder.check_all_used()
    return tuple(steps.values())


def _step(recipe: Recipe, finder: Finder, steps: dict[str, Step], file: str = "") -> Step:
    check(recipe, finder.plugins)
    inputs = tuple(_input(each, finder, steps) for each in recipe.inputs)
    models = {
        name: _model(getattr(recipe, name), finder, steps, folder_only=name == "like")
        for name in ("tuned", "base", "like")
        if isinstance(getattr(recipe, name, None), Model)
    }
    step = Step(id=_id(recipe, inputs, models), recipe=recipe, inputs=inputs, models=models, file=file)
    return steps.setdefault(step.id, step)


def _input(wanted: Input, finder: Finder, steps: dict[str, Step]) -> Found | Step:
    if wanted.changed:
        raise InvalidArgument(
            f"{wanted.adapter or 'an adapter'} was changed in memory before it went in, and no recipe tells how; save "
            "what goes in as a file of its own first"
        )
    named = wanted.adapter or wanted.files
    found = finder.adapter(wanted) if named or wanted.recipe is None else None
    return found or _step(_nested(wanted), finder, steps, _file(wanted))


def _model(wanted: Model, finder: Finder, steps: dict[str, Step], *, folder_only: bool) -> Found | Step:
    named = wanted.path or wanted.name
    found = finder.model(wanted, folder_only=folder_only) if named or wanted.recipe is None else None
    return found or _step(_nested(wanted), finder, steps)


def _file(wanted: Input) -> str:
    """Return the name that an adapter in a single file had; "" where it is no plain name."""
    name = wanted.adapter
    return name if list(wanted.files) == [name] and Path(name).name == name and not name.startswith(".") else ""


def _nested(wanted: Input | Model) -> Recipe:
    if wanted.recipe is None:
        raise AssertionError("the finder returns nothing only where there is a recipe")
    return wanted.recipe


def _id(recipe: Recipe, inputs: tuple[Found | Step, ...], models: Mapping[str, Found | Step]) -> str:
    told = json.loads(canonical(recipe))
    weights = [each.weight for each in recipe.inputs]
    identity = {
        "op": recipe.op,
        "options": told.get("options"),
        "output": told.get("output"),
        "inputs": [[weight, _content(each)] for weight, each in zip(weights, inputs, strict=True)],
        "models": {name: _content(each) for name, each in models.items()},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _content(source: Found | Step) -> list[str]:
    return [source.id] if isinstance(source, Step) else sorted(source.digests)
