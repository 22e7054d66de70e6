"""Reading, setting and mending the header of a file, with every tensor byte as it stands."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry.ir.adapter import Adapter
from lorry.ir.tensor_map import TensorMap
from lorry.ops.disk.hashes import hash_file
from lorry.ops.disk.output import replacing
from lorry.ops.headers import sides
from lorry.ops.headers.training import date, prediction, resolution
from lorry.ops.headers.triggers import triggers, with_triggers
from lorry.ops.judging.claims import architecture, base_conflicts, hash_conflicts, implementation
from lorry.ops.reading.files import read_file
from lorry.ops.reading.read import open_adapter, resolve
from lorry.plugin.host import Host, host


class Change(NamedTuple):
    """A header entry before (None: not there) and after, and why."""

    key: str
    before: str | None
    after: str
    why: str


def read_metadata(path: str | Path, plugins: Host | None = None) -> Mapping[str, str]:
    """Return the header of a file, a folder or a reference, in its order; empty where its container has none."""
    plugins = plugins or host()
    return read_file(resolve(path, plugins)[0], plugins)[1].metadata


def edit(  # noqa: PLR0913  every option is a keyword with a default
    path: str | Path,
    changes: Mapping[str, str | None],
    output: str | Path | None = None,
    *,
    words: Sequence[str] = (),
    force: bool = False,
    plugins: Host | None = None,
) -> tuple[Path, ...]:
    """Write a file again with header entries changed, None to take one out; return what was written.

    `output` None writes in place. With `words`, these trigger words stand in the side files of the result too.
    Every file is written beside its target and renamed; where one cannot be, none is. Raises InvalidFile for a
    pickle, which has no header, and for a link that would be replaced; Incompatible for a folder; InvalidArgument
    for entries that no header can hold; Conflict where something is at `output` unless `force`.
    """
    plugins = plugins or host()
    path = _file(path, plugins, in_place=output is None)
    write, source = _editable(path, plugins)
    metadata = {**source.metadata, **changes}
    kept = {key: value for key, value in metadata.items() if value is not None}
    target = path if output is None else Path(output)
    beside = sides.written(target, path, words) if words else {}
    with ExitStack() as drafts:
        for side, data in beside.items():
            drafts.enter_context(replacing(side, force=True)).write_bytes(data)
        draft = drafts.enter_context(replacing(target, force=force or output is None))  # the last one is renamed first
        write(path, draft, kept)
        if output is None:
            draft.chmod(path.stat().st_mode | stat.S_IWUSR)
    return target, *beside


def fixes(path: str | Path, plugins: Host | None = None) -> tuple[Change, ...]:
    """Return what ought to change in an adapter's header: wrong claims of its base, missing ModelSpec, wrong hashes.

    Reads the file once. A name of a base that no installed table goes by is left as it is.
    """
    plugins = plugins or host()
    file = _file(path, plugins)
    _editable(file, plugins)
    adapter = open_adapter(file, plugins=plugins)
    body = hash_file(file).autov3
    found = [
        Change(each.key, each.says, each.right, f"the tensors say {each.tensors}")
        for each in base_conflicts(adapter.metadata, adapter, plugins)
        if each.right
    ]
    base = plugins.base_models()[adapter.base]
    found += [
        Change(key, None, text, f"tools know {base.title} by it")
        for key, text in base.marks.items()
        if key not in adapter.metadata
    ]
    found += [Change(key, None, text, why) for key, text, why in _modelspec(file, adapter, body, plugins) if text]
    metadata = {**adapter.metadata, **{each.key: each.after for each in found}}
    found += [
        Change(each.key, each.says, each.right, "the hash of these tensors is another")
        for each in hash_conflicts(metadata, adapter.origin[0], body)
    ]
    return tuple(found)


def trigger_changes(path: str | Path, words: Sequence[str], plugins: Host | None = None) -> dict[str, str]:
    """Return the header entries that tell these trigger words; raise InvalidArgument for an empty one."""
    if not all(word.strip() for word in words):
        raise InvalidArgument("a trigger word is empty; leave it out")
    return with_triggers(read_metadata(path, plugins), words) if words else {}


def stated_triggers(path: str | Path, plugins: Host | None = None) -> tuple[str, ...]:
    """Return the trigger words that any place of an adapter states, in their order."""
    adapter = open_adapter(path, plugins=plugins)
    return tuple(each.text for each in triggers(adapter) if each.stated)


def _file(path: str | Path, plugins: Host, *, in_place: bool = False) -> Path:
    """Return the one file to read; refuse to replace a version of the registry, and what a link leads to."""
    (found, *more) = resolve(path, plugins)
    if in_place and found != Path(path):
        raise InvalidArgument(f"{path} is a published version, which never changes; choose another place with -o")
    if more or found.is_dir():
        raise Incompatible(f"{path} is more than one file; name the file of weights in it")
    if in_place and found.is_symlink():
        raise InvalidFile(f"{found} is a link to {found.resolve()}; name that file, or another place with -o")
    return found


def _editable(path: Path, plugins: Host) -> tuple[Callable[[Path, Path, Mapping[str, str]], None], TensorMap]:
    """Return what rewrites this file's header, and what it holds; refuse a container that has none."""
    container, source = read_file(path, plugins)
    if container.edit is None:
        raise InvalidFile(
            f"{path} has no header to write ({container.title}); convert it first, say: "
            f"lorry convert {path} --to kohya -o {path.stem}.safetensors"
        )
    return container.edit, source


def _modelspec(path: Path, adapter: Adapter, body: str, plugins: Host) -> Iterator[tuple[str, str, str]]:
    """Yield what ModelSpec 1.0.1 asks for and the header lacks, as far as file and base table tell it."""
    spec = plugins.base_models()[adapter.base].spec
    if spec is None:
        return
    told = adapter.metadata
    named = told.get("ss_output_name", "").strip()
    drawn = resolution(told)
    wanted = {
        "sai_model_spec": ("1.0.1", "the version of ModelSpec"),
        "architecture": (architecture(adapter, plugins), "what the tensors fit"),
        "implementation": (implementation(adapter, plugins), "the code whose module names these are"),
        "title": (named if named not in ("", "None") else path.stem, "ss_output_name" if named else "the file's name"),
        "resolution": (drawn or spec.resolution, "ss_resolution" if drawn else "what the base draws"),
        "prediction_type": (prediction(told), "ss_v_parameterization"),
        "date": (date(told), "when training ended, or began where that is not told"),
        "hash_sha256": (f"0x{body}", "of all that follows the header"),
    }
    for name, (text, why) in wanted.items():
        if f"modelspec.{name}" not in told:
            yield f"modelspec.{name}", text, why
