"""Undoing a bake: every file of the base as it was, to the byte; nothing is ever subtracted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lorry.errors import InvalidFile, NotFound, VerificationFailed
from lorry.ops.baking.originals import Originals, originals_of
from lorry.ops.bases.base import find_base
from lorry.ops.bases.files import base_files, read_weights
from lorry.ops.bases.output import check_folder_name
from lorry.ops.disk.output import replacing
from lorry.ops.headers.recipe import digest, newest
from lorry.ops.writing.style import RECIPE_KEY
from lorry.plugin.host import Host, host


class Undone(NamedTuple):
    """What was written where: the files, and how many of them were put together from originals or taken from the base.

    The other files were never changed.
    """

    path: Path
    files: int
    from_originals: int
    from_base: int


def undo_bake(
    baked: str | Path,
    path: str | Path,
    *,
    base: str | Path | None = None,
    force: bool = False,
    plugins: Host | None = None,
) -> Undone:
    """Write the base that something was baked from at `path`, byte for byte as it was.

    Changed files are put together from the originals kept beside the baked one, or else taken from the base: from
    `base`, or where the recipe says that it was. The digest of every file is checked. Raises NotFound where what
    was baked, or its base, is not there, InvalidFile where it has no recipe, InvalidArgument where a folder would have
    the suffix of a file, and VerificationFailed.
    """
    plugins, baked, path = plugins or host(), Path(baked), Path(path)
    if not baked.exists():
        raise NotFound(f"{baked} does not exist; give what lorry bake wrote")
    told, rewritten = _recipe(baked, plugins)
    if "" not in told.files:
        check_folder_name(path)
    place = find_base(base, plugins) if base is not None else baked.parent / told.path
    originals = Originals(baked, plugins)
    counts = {"originals": 0, "base": 0}
    with replacing(path, force=force) as draft:
        for name, wanted in told.files.items():
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in originals:
                originals.restore(name, target)
                counts["originals"] += 1
            elif name not in rewritten and (baked / name).is_file() and digest(baked / name) == wanted:
                shutil.copyfile(baked / name, target)
                continue
            elif (place / name).is_file():
                shutil.copyfile(place / name, target)
                counts["base"] += 1
            else:
                raise NotFound(
                    f"{name or told.name} is neither in {originals_of(baked)} nor in {place}; say where the base "
                    f"{told.name} is (--base)"
                )
            if digest(target) != wanted:
                raise VerificationFailed(
                    f"{name or told.name} is not what {baked} was baked from: its digest differs; "
                    f"say where the base {told.name} is (--base)"
                )
    return Undone(path, len(told.files), counts["originals"], counts["base"])


class _Told(NamedTuple):
    """The base a recipe tells of."""

    name: str
    path: str
    files: Mapping[str, str]


def _recipe(baked: Path, plugins: Host) -> tuple[_Told, set[str]]:
    """Return what the headers of the last bake tell, and which files have them."""
    found = dict(_headers(baked, plugins))
    if not found:
        raise InvalidFile(f"{baked} has no recipe of lorry bake in its header; only what lorry baked can be undone")
    last = newest(found.values())
    if len(last) > 1:
        raise InvalidFile(
            f"{baked} is put together from files of several bakes, and none was made on the others; "
            "only one bake can be undone, in what it wrote"
        )
    try:
        told: Any = json.loads(last[0])
        while told.get("op") == "convert-base":  # what was converted since is undone with the bake
            told = told["base"]["recipe"]
        base = told["base"]
        files = {str(name): str(wanted) for name, wanted in base["files"].items()}
        where = _Told(str(base["name"]), str(base["path"]), files)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidFile(f"{baked} has a recipe that tells of no base; only what lorry baked can be undone") from error
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise InvalidFile(f"{baked} has a recipe with a file outside its folder, {name!r}; nothing was written")
    return where, {name for name, text in found.items() if text in last}


def _headers(baked: Path, plugins: Host) -> Iterator[tuple[str, str]]:
    for _, files in base_files(baked):
        for file in files:
            told = read_weights(file, plugins).metadata.get(RECIPE_KEY)
            if told is not None:
                yield "" if file == baked else file.relative_to(baked).as_posix(), told
