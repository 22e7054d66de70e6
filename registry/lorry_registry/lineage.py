"""Lineage: which published versions an adapter was made from, and by which recipe.

What lorry makes carries its recipe in its header (`lorry.recipe`), with the sha256 of every input. Publishing looks
those up among the blobs, so that parents get their names. A recipe of another tool may be told too, in the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

from pydantic import (  # noqa: TID253  loaded when publishing only
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from lorry.errors import InvalidArgument, InvalidFile, NotFound
from lorry.ops.style import RECIPE_KEY
from lorry.recipe.earlier import upgraded
from lorry_registry.index import find_file
from lorry_registry.manifest import Lineage, Parent, Sha256, Text, explain
from lorry_registry.reference import Reference
from lorry_registry.store import LocalStore, Resolved

_LARGEST = 1 << 20
"""Characters: a weight for every module of a few adapters takes a tenth of these."""
_MOST_INPUTS = 1000


def _named(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return {"adapter": given} if isinstance(given, str) else given


def _model(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return None if isinstance(given, str) else given


class Input(BaseModel):
    """One input of a recipe: the digests of its files by their names, or a single file's name and sha256."""

    model_config = ConfigDict(extra="allow", frozen=True)

    adapter: Text = ""
    files: Annotated[dict[Text, Annotated[str, Field(max_length=80)]], Field(max_length=_MOST_INPUTS)] = {}
    name: Text = ""
    sha256: Sha256 | None = None
    weight: float | None = None
    recipe: Recipe | None = None

    def contents(self) -> Iterator[tuple[str, str | None]]:
        """Yield name and sha256 of every file that one is told of, or its name alone."""
        told = {name: digest.removeprefix("sha256:") for name, digest in self.files.items() if "sha256:" in digest}
        if self.sha256:
            told[self.name] = self.sha256
        yield from told.items()
        if not told and not self.recipe:
            yield self.name or self.adapter, None


class Model(BaseModel):
    """A base model that went into it; only how it was made itself leads to adapters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: Recipe | None = None


class Recipe(BaseModel):
    """What a recipe must tell; whatever else it holds is kept too."""

    model_config = ConfigDict(extra="allow", frozen=True)

    op: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    inputs: Annotated[tuple[Annotated[Input, BeforeValidator(_named)], ...], Field(max_length=_MOST_INPUTS)] = ()
    tuned: Annotated[Model | None, BeforeValidator(_model)] = None
    base: Annotated[Model | None, BeforeValidator(_model)] = None


Input.model_rebuild()
Model.model_rebuild()


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
    found = tuple(islice(_parents(store, recipe), _MOST_INPUTS + 1))
    if len(found) > _MOST_INPUTS:
        raise InvalidFile(f"the recipe and those nested in it tell more than {_MOST_INPUTS:,} inputs")
    return Lineage(op=recipe.op, recipe=content, parents=(*found, *named))


def _read(text: str) -> tuple[Recipe, dict[str, Any]]:
    if len(text) > _LARGEST:
        raise InvalidFile(f"the recipe takes {len(text):,} characters, more than {_LARGEST:,}")
    try:
        content = json.loads(text)
        return Recipe.model_validate(upgraded(content)), content
    except ValidationError as error:
        raise InvalidFile(f"the recipe is not valid: {explain(error)}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"the recipe is not valid: {error}") from error


def _parents(store: LocalStore, recipe: Recipe, role: str = "input") -> Iterator[Parent]:
    """Yield what went into it: inputs, and what those that are published nowhere here were made from in turn."""
    for each in recipe.inputs:
        made_from = [_parent(store, name, sha256, each.weight, role) for name, sha256 in each.contents()]
        yield from made_from
        if each.recipe and not any(parent.reference for parent in made_from):
            yield from _parents(store, each.recipe, "nested")
    for model in (recipe.tuned, recipe.base):
        if model and model.recipe:
            yield from _parents(store, model.recipe, "nested")


def _parent(store: LocalStore, name: str, sha256: str | None, weight: float | None, role: str) -> Parent:
    """Name an input by the lowest version that holds its bytes; another registry's input keeps its hash alone.

    One that is told by reference alone is the version that this means now.
    """
    found = [Resolved(*each) for each in find_file(store, sha256)[:1]] if sha256 else _meant(store, name)
    reference, manifest = (str(found[0].reference), found[0].digest) if found else (None, None)
    return Parent(name=name, sha256=sha256, reference=reference, manifest=manifest, role=role, weight=weight)


def _meant(store: LocalStore, name: str) -> list[Resolved]:
    with suppress(InvalidArgument, NotFound):
        return [store.resolve(Reference.parse(name))]
    return []
