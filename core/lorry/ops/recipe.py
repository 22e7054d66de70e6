"""What a file was made from, told in its own header: a registry records the lineage, and a bake can be undone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lorry import __version__
from lorry.ir.adapter import Adapter
from lorry.ir.file_source import FileSource
from lorry.ops.base import Base
from lorry.ops.base_files import read_weights
from lorry.ops.base_output import indexes_of, rest_of
from lorry.ops.style import RECIPE_KEY
from lorry.plugin.host import Host


def recipe(
    op: str,
    inputs: Sequence[tuple[Adapter, float]],
    options: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the header entry that tells the operation, its inputs by sha256 and weight, its options and its base."""
    listed = [
        {"name": path.name, "sha256": file_sha256(path), "weight": weight}
        for adapter, weight in inputs
        for path in _files(adapter)
    ]
    told = {"op": op, "inputs": listed, "options": dict(options), "lorry": __version__}
    if base is not None:
        told["base"] = dict(base)
    return {RECIPE_KEY: json.dumps(told, sort_keys=True, separators=(",", ":"))}


def told_base(base: Base, output: Path, plugins: Host) -> dict[str, Any]:
    """Tell a base by id and name, by its path as seen from the output's folder, and by the digest of every file.

    A base that has a recipe itself brings it along, unless it is put together from files of several bakes.

    Files are those that are written again: weights that were opened, and in a folder what is beside them. A base
    that is one file has it under the name "".
    """
    files = [base.path] if base.path.is_file() else [*base.files, *indexes_of(base.files), *rest_of(base.path)]
    named = {"" if file == base.path else file.relative_to(base.path).as_posix(): file for file in files}
    told: dict[str, Any] = {
        "id": base.id,
        "name": base.path.name,
        "path": _seen_from(base.path, output),
        "files": {name: digest(file) for name, file in sorted(named.items())},
    }
    own = (read_weights(file, plugins).metadata.get(RECIPE_KEY) for file in base.files)
    last = newest(filter(None, own))
    if len(last) == 1:
        told["recipe"] = json.loads(last[0])
    return told


def newest(recipes: Iterable[str]) -> list[str]:
    """Return the recipes that no other of them was made on: one, unless files of several bakes were put together.

    A file that a bake leaves as it is keeps the recipe of an earlier one, which the later one tells under its base.
    What is not JSON is a stranger's and is left out.
    """
    told: dict[str, Any] = {}
    for text in recipes:
        with suppress(ValueError, RecursionError):
            told[text] = json.loads(text)
    older = [before for each in told.values() for before in _before(each)]
    return [text for text, each in told.items() if each not in older]


def _before(told: Any) -> Iterator[Any]:  # noqa: ANN401  a stranger's may be anything
    """Yield the recipe that the base of a recipe has, then the one that its base has, and so on."""
    while isinstance(told, dict) and isinstance(base := told.get("base"), dict) and "recipe" in base:
        told = base["recipe"]
        yield told


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path) -> str:
    """Return the blake3 digest of a file, as "blake3:" and hex: a quarter of what sha256 costs on gigabytes."""
    from blake3 import blake3

    found = blake3()
    for piece in FileSource.open(path).pieces():
        found.update(piece)
    return f"blake3:{found.hexdigest()}"


def _seen_from(path: Path, output: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix()
    except ValueError:  # another drive of Windows
        return path.resolve().as_posix()


def _files(adapter: Adapter) -> Iterable[Path]:
    for frame in adapter.origin:
        for path in frame.source.paths:
            if path.is_file():
                yield path
