"""Writing a base model in another layout: every tensor under the name it goes by there, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from lorry.errors import InvalidArgument, InvalidFile, NotRepresentable, VerificationFailed
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.baking.bake import check_plain
from lorry.ops.bases.base import Base, find_base, open_base
from lorry.ops.bases.files import read_weights
from lorry.ops.bases.layout import FOLDER, Layout, Place
from lorry.ops.bases.output import check_file_name, check_folder_name, copy_rest, shards, write_index
from lorry.ops.disk.byte_count import byte_count
from lorry.ops.disk.output import replacing
from lorry.ops.headers.recipe import header, recipe, recipe_of, told_base, told_folder
from lorry.ops.writing.style import RECIPE_KEY
from lorry.plugin.base_model import BaseModel
from lorry.plugin.host import Host, host


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What was written where, and what was left out: `lost` with the reason, `unused` because nothing needs it.

    `configured` is False for a folder that has weights alone, there having been no folder to take the rest from.
    `recipe()` tells how it was made, whether its header does or not.
    """

    path: Path
    layout: str
    tensors: int
    lost: Mapping[str, str]
    unused: tuple[str, ...]
    configured: bool = True
    recipe: Callable[[], dict[str, Any]]


def convert_base(  # noqa: PLR0913  every option is a keyword with a default
    base: Base,
    path: str | Path,
    layout: str,
    *,
    like: str | Path | None = None,
    shard_size: int | str | None = None,
    lossy: bool = False,
    verify: bool = False,
    force: bool = False,
    metadata: Mapping[str, str] | None = None,
    required: Collection[str] = (),
    plugins: Host | None = None,
) -> Rewritten:
    """Write a base in a layout its table declares: a single safetensors file, or for "diffusers" a folder.

    Tensors are streamed and keep dtype and bytes; at most one that is turned about is in memory. The header of the
    component that draws goes along. A folder gets everything but weights (configurations, tokenizers) from the folder
    `like` (or the base of that name), by default from the base itself where that is one; with neither it has
    none, and no tool loads it. A component of more bytes than `shard_size` (a number,
    or text as "5GB") is divided into shards with an index. A folder that is interrupted goes on, when it is written
    again, with the files that were not finished. `verify` reads the result back and compares every byte.
    `metadata` is added to the header, by default how it was made where the base's own header tells that of the base;
    one that tells nothing stays as it is, so that a base comes back byte for byte. The tensors named in `required` are
    not left out, `lossy` or not.

    Raises UnknownName for a layout the base does not come in, NotRepresentable for tensors that the layout has no
    place for, unless `lossy` and not `required`, Incompatible for quantised weights, and VerificationFailed.
    """
    plugins = plugins or host()
    check_plain(base)
    model: BaseModel = plugins.get("base_models", base.id)
    named = _Renamed(base, Layout(model, layout))
    unused = tuple(key for key in base.unmapped if key.startswith(model.unused))
    lost = {**named.lost, **{key: why for key, why in base.unmapped.items() if key not in unused}}
    if needed := {key: why for key, why in named.lost.items() if _holds_any(key, required)}:
        raise NotRepresentable(f"the layout {layout}", needed, "what was changed is there; choose another layout")
    if lost and not lossy:
        raise NotRepresentable(f"the layout {layout}", lost, "--lossy leaves them out")
    path = Path(path)
    size = None if shard_size is None else byte_count(shard_size)
    if layout != FOLDER:
        if size is not None:
            raise InvalidArgument(f"only folders hold shards; leave --shard-size out, or say --to {FOLDER}")
        if like is not None:
            raise InvalidArgument(f"{like}: a single file holds weights alone; leave --like out, or say --to {FOLDER}")
        check_file_name(path)
    else:
        check_folder_name(path)
    told = cache(partial(_told, base, path, layout, like=like, size=size, lossy=lossy, plugins=plugins))
    if path.exists():
        told()  # while the base is there, which may be what is replaced
    if metadata is None:
        metadata = header(told()) if recipe_of(base, plugins) else {}
    configured = True
    written = TensorMap(tensors=named.tensors, metadata={**_header(base, model, plugins), **metadata})
    with replacing(path, force=force, job=_job(base, written, size, like) if layout == FOLDER else "") as draft:
        if layout == FOLDER:
            # Weights first, so that whatever is in a folder that was interrupted is a whole file of weights.
            _write_folder(written, draft, model, size, plugins)
            configured = _copy_rest(base, _folder(like, plugins) if like is not None else base.path, draft, model)
        else:
            _write(written, draft, plugins)
        if verify:
            _verify(base, draft, named, plugins)
    return Rewritten(
        path=path,
        layout=layout,
        tensors=len(named.tensors),
        lost=lost,
        unused=unused,
        configured=configured,
        recipe=told,
    )


def _told(  # noqa: PLR0913  what a recipe tells
    base: Base,
    path: Path,
    layout: str,
    *,
    like: str | Path | None,
    size: int | None,
    lossy: bool,
    plugins: Host,
) -> dict[str, Any]:
    return recipe(
        "convert-base",
        (),
        {"lossy": lossy or None},
        base=told_base(base, path, plugins),
        like=told_folder(_folder(like, plugins)) if like is not None else None,
        layout=layout,
        shard_size=size,
    )


def _holds_any(lost: str, names: Collection[str]) -> bool:
    """Tell whether what was lost, a component or a tensor, is or holds any tensor of some names."""
    return any(name == lost or name.startswith(f"{lost}.") for name in names)


class _Renamed:
    """The tensors of a base by the keys of a layout; what has no place there is `lost`, with the reason."""

    def __init__(self, base: Base, layout: Layout) -> None:
        self.tensors: dict[str, TensorRef] = {}
        self.names: set[str] = set()
        self.lost: dict[str, str] = {}
        for component in sorted(base.components - set(layout.components)):
            self.lost[component] = "it holds no such component"
        self.lost |= layout.out_of_depth({name.rpartition(".")[0] for name in base.tensors})
        for name in base.tensors:
            if name.partition(".")[0] not in self.lost and name not in self.names:
                self._add(name, layout.place(name), base)

    def _add(self, name: str, place: Place | None, base: Base) -> None:
        if place is None:
            self.lost[name] = "it has no name for it"
            return
        names = place.stored.names
        if missing := [each for each in names if each not in base.tensors]:
            self.lost[name] = f"{place.key} needs {missing[0]} beside it"
            return
        try:
            self.tensors[place.key] = place.stored.join([base.tensors[each] for each in names])
        except InvalidArgument as error:  # parts of different dtypes
            self.lost[name] = f"{place.key}: {error}"
            return
        self.names |= set(names)


def _copy_rest(base: Base, source: Path, path: Path, model: BaseModel) -> bool:
    """Give the folder what a folder has beside weights; return whether there was any.

    The folder of one component belongs one level down.
    """
    if source in {file.parent for file in base.files}:
        copy_rest(source, path / model.components[0].name)
    elif source.is_dir():
        copy_rest(source, path)
    return source.is_dir()


def _folder(like: str | Path, plugins: Host) -> Path:
    folder = find_base(like, plugins)
    if not folder.is_dir():
        raise InvalidArgument(f"{like} is a file; configurations are taken from a diffusers folder")
    return folder


def _write_folder(written: TensorMap, path: Path, model: BaseModel, size: int | None, plugins: Host) -> None:
    """Write each component in one file or shards, as diffusers and transformers do; the header goes to the first."""
    for name in dict.fromkeys(key.partition(".")[0] for key in written.tensors):
        own = {key.partition(".")[2]: ref for key, ref in written.tensors.items() if key.startswith(f"{name}.")}
        metadata = {**(written.metadata if name == model.components[0].name else {}), "format": "pt"}
        component = model.component(name)
        file = "model" if component and component.tokenizer else "diffusion_pytorch_model"
        (path / name).mkdir(parents=True, exist_ok=True)
        whole = f"{file}.safetensors"
        files = {whole: own} if size is None else shards(whole, own, size)
        for shard, held in files.items():
            place, tensors = path / name / shard, TensorMap(tensors=held, metadata=metadata)
            if not _finished(place, tensors, plugins):
                with replacing(place, force=True) as draft:
                    _write(tensors, draft, plugins)
        if len(files) > 1:
            write_index(path / name, files)


def _job(base: Base, written: TensorMap, size: int | None, like: str | Path | None) -> str:
    """Name what a folder is made of: files by size and time, since their digests would take as long as the writing."""
    files = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in base.files]
    described = [(key, ref.dtype, ref.shape) for key, ref in written.tensors.items()]
    told = json.dumps([files, described, sorted(written.metadata.items()), size, str(like)])
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _finished(place: Path, tensors: TensorMap, plugins: Host) -> bool:
    """Tell whether an interrupted write has finished a file: what has its name is whole, unless it was changed."""
    if not place.is_file():
        return False
    try:
        found = read_weights(place, plugins)
    except InvalidFile:
        return False
    same = {key: (ref.dtype, ref.shape) for key, ref in tensors.tensors.items()}
    return found.metadata == tensors.metadata and same == {
        key: (ref.dtype, ref.shape) for key, ref in found.tensors.items()
    }


def _write(tensors: TensorMap, path: Path, plugins: Host) -> None:
    plugins.get("containers", "safetensors").write(tensors, path)


def _header(base: Base, model: BaseModel, plugins: Host) -> Mapping[str, str]:
    """Return the header of the first file with something of the component that draws, but for its recipe."""
    lead = f"{model.components[0].name}."
    for file, held in base.files.items():
        if any(name.startswith(lead) for stored in held.values() for name in stored.names):
            own = read_weights(file, plugins).metadata
            return {key: value for key, value in own.items() if key != RECIPE_KEY}
    return {}


def _verify(base: Base, path: Path, named: _Renamed, plugins: Host) -> None:
    written = open_base(path, plugins)
    for name, ref in base.tensors.items():
        if name in named.names and (name not in written.tensors or not ref.same(written.tensors[name])):
            raise VerificationFailed(f"{name} does not read back as it is in {base.path}; nothing was written")
