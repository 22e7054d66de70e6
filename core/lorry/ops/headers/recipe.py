"""How something was made, told in its own header: it can be made again, a registry records it, a bake can be undone.

core/lorry/recipe reads what is told here, and makes it again; its `document` says what every field means.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorry import __version__
from lorry.ir.adapter import Adapter
from lorry.ir.file_source import FileSource
from lorry.ops.bases.files import read_weights
from lorry.ops.bases.output import indexes_of, rest_of
from lorry.ops.disk.known import known
from lorry.ops.disk.output import replacing
from lorry.ops.disk.tensor_digest import digest_of, tensor_digest
from lorry.ops.reading.read import SEVERAL
from lorry.ops.writing.style import RECIPE_KEY
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base

SCHEMA: Final = 1
"""Version of the form of recipes."""

_LARGEST_BROUGHT = 64 << 10
"""Characters of an input's own recipe, beyond which it is left where it is: an input used twice tells its own twice."""


def recipe(  # noqa: PLR0913  what a recipe tells
    op: str,
    inputs: Sequence[tuple[Adapter, float]],
    options: Mapping[str, Any],
    *,
    format: str | None = None,
    layout: str | None = None,
    shard_size: int | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    **sources: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Tell an operation: its inputs by digest and weight, its options, what is written, and other sources by name.

    Options that are None are left out. `by` tells what the last bits may depend on: the versions that computed, the
    device and the number of its threads.
    """
    by: dict[str, Any] = {"lorry": __version__}
    computes = op != "convert-base" and (op != "convert" or options.get("lossy"))
    if computes:  # otherwise nothing could come out in another way
        import torch

        by |= {"torch": torch.__version__, "device": torch.device(device).type, "threads": torch.get_num_threads()}
    output = {"format": format, "layout": layout, "shard_size": shard_size, "dtype": dtype}
    told = {
        "lorry": SCHEMA,
        "op": op,
        "inputs": [told_adapter(adapter, weight) for adapter, weight in inputs],
        "options": _given(options),
        "output": _given(output),
        "by": by,
        **_given(sources),
    }
    return {key: value for key, value in told.items() if value or key == "options"}


def header(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the header entry that holds a recipe."""
    return {RECIPE_KEY: json.dumps(told, sort_keys=True, separators=(",", ":"))}


def told_adapter(adapter: Adapter, weight: float = 1.0) -> dict[str, Any]:
    """Tell an adapter by the names and digests of its files, and by its own recipe where it is what one made.

    Of one that was opened by a reference the version is told that it meant. One that stands in no file has no digests,
    and of one that is no longer as its files have it that is told.
    """
    told: dict[str, Any] = {
        "adapter": SEVERAL.join(_names(adapter)),
        "files": {path.name: f"sha256:{known_sha256(path)}" for path in _files(adapter)},
        "weight": float(weight),
    }
    if version := next((frame.version for frame in adapter.origin if frame.version), None):
        told["version"] = version._asdict()
    if _changed(adapter):
        told["changed"] = True
    elif len(adapter.origin) == 1:
        source = adapter.origin[0].source
        own = source.metadata.get(RECIPE_KEY, "")
        if own and len(own) <= _LARGEST_BROUGHT:
            with suppress(ValueError, RecursionError, TypeError):  # a stranger's may be anything
                told["recipe"] = {**json.loads(own), "expect": {"tensor_digest": tensor_digest(source.tensors)}}
    return told


def told_model(base: Base, plugins: Host) -> dict[str, Any]:
    """Tell a base model by id, name and the digest of every file, and by its own recipe where it has one.

    Files are those that matter and are written again when it is copied: weights that were opened, and in a folder
    what is beside them. A base that is one file has it under the name "".
    """
    files = [base.path] if base.path.is_file() else [*base.files, *indexes_of(base.files), *rest_of(base.path)]
    named = {"" if file == base.path else file.relative_to(base.path).as_posix(): file for file in files}
    told: dict[str, Any] = {
        "id": base.id,
        "name": base.path.name,
        "files": {name: known_digest(file) for name, file in sorted(named.items())},
    }
    if own := recipe_of(base, plugins):
        told["recipe"] = json.loads(own)
    return told


def recipe_of(base: Base, plugins: Host) -> str:
    """Return the recipe, as JSON, that the headers of a base model tell; "" where they tell none, or several."""
    own = (read_weights(file, plugins).metadata.get(RECIPE_KEY) for file in base.files)
    last = newest(filter(None, own))
    return last[0] if len(last) == 1 else ""


def told_folder(folder: Path) -> dict[str, Any]:
    """Tell a folder of configurations and tokenizers by name and the digest of every file that is no weights."""
    files = {file.relative_to(folder).as_posix(): known_digest(file) for file in rest_of(folder)}
    return {"name": folder.name, "files": dict(sorted(files.items()))}


def told_base(base: Base, output: Path, plugins: Host) -> dict[str, Any]:
    """Tell a base that something is made of, also by its path as seen from the output: undoing looks for it there."""
    return {**told_model(base, plugins), "path": seen_from(base.path, output)}


def keep_recipe(
    told: Mapping[str, Any],
    made: Path,
    path: Path,
    *,
    inputs: Sequence[str] = (),
    force: bool = False,
    **models: str | None,
) -> None:
    """Write a recipe as a file of its own, for people, with the tensor digest of what it made.

    `inputs` and `models` are how the person named the inputs and the models: paths are told as seen from the file.
    """
    whole = {**told, "expect": {"tensor_digest": digest_of(made)}}
    if inputs:
        named = zip(told["inputs"], inputs, strict=True)
        whole["inputs"] = [{**each, "adapter": _as_seen(name, path)} for each, name in named]
    for field, name in models.items():
        if name is not None:
            whole[field] = {**told[field], "path": _as_seen(name, path)}
    with replacing(path, force=force) as draft:
        draft.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def known_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex; read once for as long as the file stays what it is."""
    return known(path, "sha256", partial(_sha256, path))


def known_digest(path: Path) -> str:
    """Return the `digest` of a file; read once for as long as the file stays what it is."""
    return known(path, "blake3", partial(digest, path))


def digest(path: Path) -> str:
    """Return the blake3 digest of a file, as "blake3:" and hex: a quarter of what sha256 costs on gigabytes."""
    from blake3 import blake3

    found = blake3()
    for piece in FileSource.open(path).pieces():
        found.update(piece)
    return f"blake3:{found.hexdigest()}"


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    for piece in FileSource.open(path).pieces():
        found.update(piece)
    return found.hexdigest()


def seen_from(path: Path, output: Path) -> str:
    """Return a path as seen from the folder of an output."""
    try:
        return Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix()
    except ValueError:  # another drive of Windows
        return path.resolve().as_posix()


def _as_seen(text: str, file: Path) -> str:
    """Tell what somebody typed, a path or a reference, as it is seen from a file."""
    parts = [text] if Path(text).exists() else text.split(SEVERAL)
    return SEVERAL.join(seen_from(Path(part), file) if Path(part).exists() else part for part in parts)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _changed(adapter: Adapter) -> bool:
    """Tell whether any layer or token is another object than was read."""
    read = {id(layer) for frame in adapter.origin for stack in frame.layers.values() for layer in stack}
    held = {id(layer) for stack in adapter.layers.values() for layer in stack}
    words = {id(token) for frame in adapter.origin for token in frame.tokens.values()}
    return held != read or words != {id(token) for token in adapter.tokens.values()}


def _names(adapter: Adapter) -> Iterator[str]:
    for frame in adapter.origin:
        paths = [frame.path] if frame.path.is_dir() else frame.source.paths
        yield from (path.name for path in paths)


def _files(adapter: Adapter) -> Iterator[Path]:
    """Yield the files of an adapter's tensors, and beside them those that its dialect keeps a header in."""
    for frame in adapter.origin:
        own = host().dialects().get(frame.dialect)
        sides = own.header.sides if own and own.header else ()
        folder = frame.path if frame.path.is_dir() else frame.path.parent
        beside = [folder / name for name in sides if name in frame.source.sides]
        yield from (path for path in (*frame.source.paths, *beside) if path.is_file())
