"""Lineage: which published versions an adapter was made from, and by which recipe.

What lorry makes carries its recipe in its header (`lorry.recipe`), with the sha256 of every input, and with the version
that it was opened as. Publishing looks those up, so that parents get their names. A recipe of another tool may be told
too, in the same words.
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
from lorry.ops.writing.style import RECIPE_KEY
from lorry.recipe.earlier import upgraded
from lorry.recipe.plan import STEP_FILE
from lorry_registry.home.index import find_file
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.references.reference import Reference
from lorry_registry.version.manifest import Lineage, Parent, Sha256, Text, explain

_LARGEST = 1 << 20
"""Characters: a weight for every module of a few adapters takes a tenth of these."""
_MOST_INPUTS = 1000


def _named(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return {"adapter": given} if isinstance(given, str) else given


def _model(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return None if isinstance(given, str) else given


class Version(BaseModel):
    """The version that an input was opened as, where that was by a reference."""

    model_config = ConfigDict(extra="allow", frozen=True)

    reference: Text
    digest: Annotated[str, Field(max_length=80)]


class Input(BaseModel):
    """One input of a recipe: the digests of its files by their names, or a single file's name and sha256."""

    model_config = ConfigDict(extra="allow", frozen=True)

    adapter: Text = ""
    files: Annotated[dict[Text, Annotated[str, Field(max_length=80)]], Field(max_length=_MOST_INPUTS)] = {}
    name: Text = ""
    sha256: Sha256 | None = None
    version: Version | None = None
    weight: float | None = None
    recipe: Recipe | None = None

    def contents(self) -> dict[str, str]:
        """Return the sha256 of every file that one is told of, by its name."""
        told = {name: digest.removeprefix("sha256:") for name, digest in self.files.items() if "sha256:" in digest}
        return told | ({self.name: self.sha256} if self.sha256 else {})


class Model(BaseModel):
    """A base model that went into it; only how it was made itself leads to adapters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Text = ""
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
    made = Lineage(op=recipe.op, recipe=content, parents=(*_parents(store, recipe), *named))
    if sum(1 for _ in islice(made.every(), _MOST_INPUTS + 1)) > _MOST_INPUTS:
        raise InvalidFile(f"the recipe and those nested in it tell more than {_MOST_INPUTS:,} inputs")
    return made


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


def _parents(store: LocalStore, recipe: Recipe) -> Iterator[Parent]:
    """Yield what went into it: inputs, and steps that are published nowhere here with what they were made from."""
    for each in recipe.inputs:
        yield from _of_input(store, each)
    for role, model in (("tuned", recipe.tuned), ("base", recipe.base)):
        made = model.recipe if model else None
        if model and made and (parents := tuple(_parents(store, made))):
            yield Parent(name=model.name, role=role, op=made.op, parents=parents)


def _of_input(store: LocalStore, wanted: Input) -> Iterator[Parent]:
    """Yield a parent for each file of an input: of the version it was opened as, or of one that holds its bytes.

    Another registry's input keeps its hash alone. One that is told by reference alone is the version that this means
    now.
    """
    contents, named = wanted.contents(), wanted.name or wanted.adapter
    version = _version(store, wanted, frozenset(contents.values())) if contents else _meant(store, named)
    if version is None and wanted.recipe:
        name, sha256 = next(iter(contents.items()), (named, None))
        parents = tuple(_parents(store, wanted.recipe))
        name = "" if STEP_FILE.fullmatch(name) else name
        yield Parent(name=name, sha256=sha256, weight=wanted.weight, op=wanted.recipe.op, parents=parents)
        return
    for name, sha256 in contents.items() or [(named, None)]:
        found = version or (_holding(store, frozenset([sha256])) if sha256 else None)
        reference, manifest = (str(found.reference), found.digest) if found else (None, None)
        yield Parent(name=name, sha256=sha256, reference=reference, manifest=manifest, weight=wanted.weight)


def _version(store: LocalStore, wanted: Input, sha256s: frozenset[str]) -> Resolved | None:
    """Return the version that an input is: what it was opened as if that holds its files, else one that does."""
    told = wanted.version
    meant = _meant(store, told.reference) if told else None
    if told is None or meant is None or told.digest != f"sha256:{meant.digest}":
        return _holding(store, sha256s)
    held = {file.sha256 for file in store.manifest(meant).files}
    return meant if sha256s <= held else _holding(store, sha256s)


def _holding(store: LocalStore, sha256s: frozenset[str]) -> Resolved | None:
    """Return the version that holds all these bytes, of several the highest that is not yanked."""
    found = frozenset.intersection(*(frozenset(find_file(store, each)) for each in sha256s))
    by_name = sorted(found, key=lambda each: each[0].adapter)
    from_highest = sorted(by_name, key=lambda each: each[0].exact().precedence, reverse=True)
    best = min(from_highest, key=lambda each: store.records(each[0]).yanked(each[0].exact()), default=None)
    return Resolved(*best) if best else None


def _meant(store: LocalStore, name: str) -> Resolved | None:
    with suppress(InvalidArgument, NotFound):
        return store.resolve(Reference.parse(name))
    return None
