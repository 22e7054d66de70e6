"""Lineage: which published versions an adapter was made from, and by which recipe.

`lorry merge` and `lorry convert` write the recipe into the header of what they make (`lorry.recipe`), with
the sha256 of every input. Publishing looks those up among the blobs, so that parents get their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError  # noqa: TID253  loaded when publishing only

from lorry.errors import InvalidArgument, InvalidFile
from lorry.ops.style import RECIPE_KEY
from lorry_registry.index import find_file
from lorry_registry.manifest import Lineage, Parent, Sha256, Text, explain
from lorry_registry.store import LocalStore, Resolved

_LARGEST = 256 << 10
_MOST_INPUTS = 1000


class Input(BaseModel):
    """One input of a recipe."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Text = ""
    sha256: Sha256 | None = None
    weight: float | None = None


class Recipe(BaseModel):
    """What a recipe must tell; whatever else it holds is kept too."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    op: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    inputs: Annotated[tuple[Input, ...], Field(max_length=_MOST_INPUTS)] = ()


def lineage(
    store: LocalStore, metadata: Mapping[str, str], given: str | None, parents: Sequence[Resolved]
) -> Lineage | None:
    """Return the lineage: from the header's recipe or a given one (JSON), and from parents named by hand.

    Raises InvalidArgument where both recipes are there, InvalidFile for one that is damaged or too long.
    """
    own = metadata.get(RECIPE_KEY)
    if own is not None and given is not None:
        raise InvalidArgument(f"the file carries its own recipe ({RECIPE_KEY}); leave the other one out")
    text = given if given is not None else own
    named = tuple(Parent(reference=str(each.reference), manifest=each.digest, role="named") for each in parents)
    if text is None:
        return Lineage(op="derive", parents=named) if named else None
    recipe, content = _read(text)
    return Lineage(op=recipe.op, recipe=content, parents=(*(_parent(store, each) for each in recipe.inputs), *named))


def _read(text: str) -> tuple[Recipe, dict[str, Any]]:
    if len(text) > _LARGEST:
        raise InvalidFile(f"the recipe takes {len(text):,} characters, more than {_LARGEST:,}")
    try:
        return Recipe.model_validate_json(text), json.loads(text)
    except ValidationError as error:
        raise InvalidFile(f"the recipe is not valid: {explain(error)}") from error


def _parent(store: LocalStore, each: Input) -> Parent:
    """Name an input by the lowest version that holds its bytes; another registry's input keeps its hash alone."""
    found = find_file(store, each.sha256) if each.sha256 else []
    reference, manifest = found[0] if found else (None, None)
    return Parent(
        name=each.name,
        sha256=each.sha256,
        reference=str(reference) if reference else None,
        manifest=manifest,
        weight=each.weight,
    )
