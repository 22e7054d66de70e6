"""A recipe from a file that a person wrote, or from the header of what one made."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError  # noqa: TID253  this module is only loaded where recipes are read

from lorry.errors import Incompatible, InvalidFile
from lorry.ops.bases.files import base_files, read_weights
from lorry.ops.headers.recipe import SCHEMA, newest
from lorry.ops.reading.read import resolve
from lorry.ops.writing.style import RECIPE_KEY
from lorry.plugin.host import Host, host
from lorry.recipe import document
from lorry.recipe.document import RECIPE, Recipe
from lorry.recipe.earlier import upgraded

_YAML = (".yaml", ".yml")
_SUFFIXES = (".json", *_YAML)
_LARGEST = 4 << 20
_LARGEST_YAML = 128 << 10
"""YAML is written by hand, and takes a second for each of these to read."""
_DEEPEST = 64
"""Levels of brackets within one another: 20 recipes or so."""
_MOST_STEPS = 256


class Read(NamedTuple):
    """A recipe, the folder that its paths are seen from, and the files it was read from where they are what it made."""

    recipe: Recipe
    folder: Path
    made: tuple[Path, ...] = ()


def read_recipe(source: str | Path | Mapping[str, Any], plugins: Host | None = None) -> Read:
    """Read a recipe: a file of JSON or YAML, what lorry made (a path or a reference), or the document itself.

    Raises InvalidFile for what is no recipe, naming the field, Incompatible for one of a newer schema, and NotFound.
    """
    if isinstance(source, Mapping):
        return Read(parse(source, "the recipe"), Path())
    path = Path(source)
    if path.suffix.lower() in _SUFFIXES and path.is_file():
        return Read(parse(load(path), str(path)), path.parent)
    plugins = plugins or host()
    made = resolve(source, plugins)
    told = newest({text for each in made for text in _headers(each, plugins)})
    if len(told) != 1:
        why = "has no recipe in its header; lorry writes one into what it makes"
        raise InvalidFile(f"{source} {why if not told else 'holds files that different recipes made'}")
    return Read(parse(json.loads(told[0]), str(source)), made[0].parent, made)


def parse(raw: Any, where: str) -> Recipe:  # noqa: ANN401  checked here
    """Return the recipe that JSON or YAML holds, one of an earlier lorry in today's form; `where` is for messages."""
    _check_extent(raw, where)
    raw = upgraded(raw)
    try:
        return RECIPE.validate_python(raw)
    except ValidationError as error:
        schema = raw.get("lorry") if isinstance(raw, Mapping) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise Incompatible(
                f"{where} is a recipe of schema {schema}, this lorry knows {SCHEMA}; upgrade lorry"
            ) from error
        raise InvalidFile(f"{where} is no recipe: {_explain(error)}") from error


def _headers(path: Path, plugins: Host) -> list[str]:
    files = [file for _, found in base_files(path) for file in found] or [path]
    headers = (read_weights(file, plugins).metadata for file in files if file.suffix.lower() not in _SUFFIXES)
    return [header[RECIPE_KEY] for header in headers if RECIPE_KEY in header]


def load(path: Path) -> Any:  # noqa: ANN401  checked by pydantic
    """Return what a file of JSON or YAML holds; raise InvalidFile for what is neither, or too long."""
    yaml = path.suffix.lower() in _YAML
    largest = _LARGEST_YAML if yaml else _LARGEST
    if path.stat().st_size > largest:
        raise InvalidFile(f"{path} takes {path.stat().st_size:,} bytes, and such a recipe takes {largest:,} at most")
    try:
        text = path.read_text(encoding="utf-8")
        if yaml:
            from lorry.recipe import plain_yaml

            return plain_yaml.load(text)
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is no recipe: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{name!r} stands twice in one object")
        made[name] = value
    return made


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number in JSON")


def _check_extent(raw: Any, where: str) -> None:  # noqa: ANN401  anything
    """Raise InvalidFile for what nests too deep, or for more steps than anybody needs."""
    steps, level, ahead = 0, 0, [raw]
    while ahead:
        if level > _DEEPEST:
            raise InvalidFile(f"{where} is no recipe: it nests more than {_DEEPEST} levels deep")
        held = [each for each in ahead if isinstance(each, Mapping | list | tuple)]
        steps += sum(isinstance(each, Mapping) and "op" in each for each in held)
        if steps > _MOST_STEPS:
            raise InvalidFile(f"{where} has more than {_MOST_STEPS} steps; make some of them first, by recipes apart")
        level += 1
        ahead = [inner for each in held for inner in (each.values() if isinstance(each, Mapping) else each)]


def _explain(error: ValidationError) -> str:
    """Say in one line what is wrong where, and what may have been meant."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(each) for each in first["loc"] if each not in _OPS)
    if first["type"] == "union_tag_invalid":
        return f"{place or 'it'} asks for the operation {first['ctx']['tag']!r}; {_near(first['ctx']['tag'], _OPS)}"
    if first["type"] == "union_tag_not_found":
        return f"{place or 'it'} has no 'op', which says what is done: {', '.join(_OPS)}"
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return f"nothing is called {place!r} there; {_near(name, _FIELDS)}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}" if place else str(first["msg"])


def _near(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


_OPS = ("merge", "extract", "resize", "convert", "bake", "convert-base")
_PARTS = [each for each in vars(document).values() if isinstance(each, type) and issubclass(each, BaseModel)]
_FIELDS = tuple(sorted({name for part in _PARTS for name in part.model_fields}))
