"""Writing a baked base: changed tensors computed as they are written, everything else copied."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.baking.bake import Baked
from lorry.ops.baking.originals import ChangedFile, keep_originals, originals_of
from lorry.ops.baking.vocabulary import vocabulary
from lorry.ops.bases.base import find_base
from lorry.ops.bases.convert import Rewritten, convert_base
from lorry.ops.bases.files import read_weights
from lorry.ops.bases.output import (
    check_file_name,
    check_folder_name,
    copy_rest,
    indexes_of,
    safetensors_name,
    write_index,
)
from lorry.ops.bases.stored import Stored
from lorry.ops.disk.output import check_target, replacing
from lorry.ops.headers.recipe import digest, header, recipe, told_base, told_folder
from lorry.ops.writing.style import HASH_KEYS, RECIPE_KEY


def write_base(  # noqa: PLR0913  every option is a keyword with a default
    baked: Baked,
    path: str | Path,
    *,
    layout: str | None = None,
    like: str | Path | None = None,
    originals: bool = False,
    lossy: bool = False,
    force: bool = False,
) -> Rewritten:
    """Write a base with its changes at `path`: in its own layout, a folder or a single file, or in another one.

    Files in which nothing changes are copied bit for bit; the others are streamed, with the recipe in their header.
    Learned tokens join the tokenizers and the text encoders' embeddings, for which a single file has no place:
    Incompatible. Weight files that the base did not open (other precisions, root checkpoints) would be stale and are
    left out. A folder that is interrupted goes on, when it is written again, with the files that were not finished.

    `originals` keeps what was changed beside the result, for `undo_bake`. `layout`, `like` and `lossy` are those of
    `convert_base`, except that what an adapter changes is never left out: NotRepresentable.
    """
    path, base = Path(path), baked.base
    layout = layout or base.layout
    check_target(path, force=force)
    if layout != base.layout:
        return _convert(baked, path, layout, like=like, lossy=lossy, force=force, originals=originals)
    if like is not None:
        raise InvalidArgument(f"{like}: configurations are taken from elsewhere only in another layout (--to)")
    told = cache(partial(_told, baked, path, layout))  # once, while the base is there, which may be what is replaced
    with _beside(path, force=force, wanted=originals) as kept:
        write = _write_folder if base.path.is_dir() else _write_single
        write(baked, path, kept, told, force=force)
    return Rewritten(path=path, layout=layout, tensors=len(baked), lost={}, unused=(), recipe=told)


def _convert(  # noqa: PLR0913  the options of write_base
    baked: Baked,
    path: Path,
    layout: str,
    *,
    like: str | Path | None,
    lossy: bool,
    force: bool,
    originals: bool,
) -> Rewritten:
    if baked.tokens:
        raise Incompatible(
            "learned tokens join a tokenizer in the base's own layout only; convert the base first "
            f"(lorry convert-base --to {layout}), or leave the tokens out"
        )
    if originals:
        raise InvalidArgument(
            "originals are kept for a base in its own layout only, where single tensors can be put back; without "
            "them, the bake is undone from the base"
        )
    computed = replace(baked.base, tensors={name: baked.ref(name) for name in baked})
    told = _told(baked, path, layout, like=like, lossy=lossy)
    done = convert_base(
        computed,
        path,
        layout,
        like=like,
        lossy=lossy,
        force=force,
        metadata=header(told),
        required=baked.changes,
        plugins=baked.plugins,
    )
    return replace(done, recipe=lambda: told)


def _told(
    baked: Baked, path: Path, layout: str, *, like: str | Path | None = None, lossy: bool = False
) -> dict[str, Any]:
    return recipe(
        "bake",
        baked.adapters,
        {"partial": baked.partial or None, "lossy": lossy or None},
        base=told_base(baked.base, path, baked.plugins),
        like=told_folder(find_base(like, baked.plugins)) if like is not None else None,
        layout=layout,
        dtype=baked.dtype,
        device=baked.device,
    )


@contextmanager
def _beside(path: Path, *, force: bool, wanted: bool) -> Iterator[Path | None]:
    """Yield where to write the originals, before the result has its name; None where none are wanted."""
    if not wanted:
        yield None
        return
    with replacing(originals_of(path), force=force) as kept:
        yield kept


def _write_single(
    baked: Baked, path: Path, kept: Path | None, told: Callable[[], dict[str, Any]], *, force: bool
) -> None:
    base = baked.base
    if baked.tokens:
        raise Incompatible(
            f"{base.path} is one file, without the tokenizer that learned tokens join; rewrite it as a folder "
            "first (lorry convert-base --to diffusers --like FOLDER), or leave the tokens out"
        )
    check_file_name(path)
    entry = header(told())
    with replacing(path, force=force) as draft:
        rewritten = {base.path: _Weights(baked, base.path.parent, {}, entry).rewrite(base.path, draft)}
        if kept:
            keep_originals(base, draft, rewritten, kept, baked.plugins)


def _write_folder(
    baked: Baked, path: Path, kept: Path | None, told: Callable[[], dict[str, Any]], *, force: bool
) -> None:
    """Write weights first, so that whatever is in a folder that was interrupted is a whole file of weights."""
    check_folder_name(path)
    base = baked.base
    entry = header(told())
    job = hashlib.sha256(entry[RECIPE_KEY].encode()).hexdigest()[:8]
    grown = vocabulary(baked) if baked.tokens else []
    with replacing(path, force=force, job=job) as draft:
        rewritten: dict[Path, ChangedFile] = {}
        for folder in dict.fromkeys(file.parent for file in base.files):
            weights = _Weights(baked, folder, {each.name: each.matrix for each in grown}, entry)
            rewritten |= weights.write(draft / folder.relative_to(base.path))
        copy_rest(base.path, draft)
        for each in grown:
            each.save(draft)
        if kept:
            keep_originals(base, draft, rewritten, kept, baked.plugins)


@dataclass(frozen=True)
class _Weights:
    """The weight files in one folder: copied where nothing in them changes, else computed as they are written."""

    baked: Baked
    folder: Path
    grown: Mapping[str, TensorRef]
    told: Mapping[str, str]

    def write(self, folder: Path) -> dict[Path, ChangedFile]:
        """Write them at `folder` and return those that are others now.

        Shards get an index. Pickles become safetensors if one of them changes. What is finished there already, of a
        write that was interrupted, is left as it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        changed = {file: self._changed(file) for file in self._files}
        rewritten: dict[Path, ChangedFile] = {}
        written: dict[str, Mapping[str, TensorRef]] = {}
        for file in self._files:
            place = folder / (safetensors_name(file.name) if any(changed.values()) else file.name)
            if changed[file] or place.name != file.name:
                rewritten[file] = ChangedFile(place, changed[file])
            if not self._finished(file, place, copied=file not in rewritten):
                with replacing(place, force=True) as draft:
                    self.rewrite(file, draft) if file in rewritten else shutil.copyfile(file, draft)
            written[place.name] = read_weights(place, self.baked.plugins).tensors
        if not rewritten:
            for listed in indexes_of(self._files):
                shutil.copyfile(listed, folder / listed.name)
        elif len(self._files) > 1:
            write_index(folder, written)
        return rewritten

    def rewrite(self, file: Path, draft: Path) -> ChangedFile:
        """Write one file, its changed tensors computed, with the recipe in its header and without stale hashes."""
        source = read_weights(file, self.baked.plugins)
        stored = self._files[file]
        tensors = {key: self._value(ref, stored.get(key)) for key, ref in source.tensors.items()}
        kept = {key: value for key, value in source.metadata.items() if key not in HASH_KEYS}
        written = TensorMap(tensors=tensors, metadata={**kept, **self.told})
        self.baked.plugins.get("containers", "safetensors").write(written, draft)
        return ChangedFile(draft, self._changed(file))

    @property
    def _files(self) -> Mapping[Path, Mapping[str, Stored]]:
        return {file: names for file, names in self.baked.base.files.items() if file.parent == self.folder}

    def _finished(self, file: Path, place: Path, *, copied: bool) -> bool:
        """Tell whether an interrupted write has finished a file: the base's own bytes, or whole and of this recipe."""
        if not place.is_file():
            return False
        if copied:
            return digest(place) == digest(file)
        try:
            return read_weights(place, self.baked.plugins).metadata.get(RECIPE_KEY) == self.told[RECIPE_KEY]
        except InvalidFile:
            return False

    def _changed(self, file: Path) -> set[str]:
        return {key for key, stored in self._files[file].items() if any(map(self._changes, stored.names))}

    def _changes(self, name: str) -> bool:
        return name in self.grown or self.baked.touches(name)

    def _value(self, ref: TensorRef, stored: Stored | None) -> TensorRef:
        if stored is None or not any(map(self._changes, stored.names)):
            return ref
        return stored.join([self.grown.get(name) or self.baked.ref(name) for name in stored.names])
