"""Checking an adapter thoroughly: is it what it claims, is every number one, and would lorry use it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from lorry.errors import Conflict, Incompatible, InvalidArgument, InvalidFile, NotRecognised
from lorry.ir.adapter import Adapter
from lorry.ir.tensor import TensorRef, reading
from lorry.ops.bases.base import Base, open_base
from lorry.ops.judging.claims import conflicts
from lorry.ops.judging.confined import Exhausted, confined, means_for
from lorry.ops.judging.findings import Verdict, judge
from lorry.ops.judging.finite import finite
from lorry.ops.reading.read import AdapterPath, check_fits, open_adapter, resolve
from lorry.plugin.host import Host, host
from lorry.plugin.kind import ALPHA

LARGEST_SCALE = 1e3
LARGE_SCALE = 32

_HARMLESS = ("base", "component")
"""What a file need not tell: `--base` settles it."""

_EXAMINE = "lorry.ops.judging.validate:examine"
_MOST_FILES = 1_000
"""A folder of more is taken for one with a program in it, unread."""

Found = tuple[str, str, str]
"""The check of `findings.CHECKS`, where, and what."""


def validate(
    subject: Adapter | AdapterPath, base: Base | str | Path | None = None, plugins: Host | None = None
) -> Verdict:
    """Return a verdict on an adapter, a file, a folder, the files of one adapter, or a reference, with all findings.

    Reads every tensor, and a file again whose header tells a hash. A path whose bytes are a program (a pickle) is
    read in a process of limited means; with `plugins` of the caller's own it is read here. With `base`, shapes are
    held against it too. Raises NotFound for what is not there; all else that is wrong with `subject` is a finding.
    """
    own = plugins or host()
    opened = open_base(base, own) if isinstance(base, str | Path) else base
    if isinstance(subject, Adapter):
        return judge(chain(_misfits(subject, opened, own), _of_adapter(subject, own)))
    paths = resolve(subject, own)
    if own is host() and any(_is_program(path, own) for path in paths):
        return judge(_apart(paths, opened))
    return judge(_of_paths(paths, opened, own))


def examine(paths: Sequence[str], base: str | None) -> list[Found]:
    """Return what is found in the files of one adapter: what `validate` calls in the other process."""
    return list(_of_paths([Path(each) for each in paths], open_base(base) if base else None, host()))


def _apart(paths: Sequence[Path], base: Base | None) -> Iterator[Found]:
    arguments = [[str(path.absolute()) for path in paths], str(base.path.absolute()) if base else None]
    nbytes = sum(file.stat().st_size for path in paths for file in _files(path))
    try:
        found = confined(_EXAMINE, arguments, means_for(nbytes))
    except Exhausted as error:
        yield "exhausted", paths[0].name, str(error)
    else:
        yield from found


def _of_paths(paths: Sequence[Path], base: Base | None, plugins: Host) -> Iterator[Found]:
    where = paths[0].name or str(paths[0])
    subject = paths[0] if len(paths) == 1 else list(paths)
    try:
        try:
            adapter = open_adapter(subject, base=base, plugins=plugins)
        except Incompatible as error:
            if base is None or isinstance(error, NotRecognised):
                raise
            yield "base", where, _told(error, paths[0])
            adapter = open_adapter(subject, plugins=plugins)
        yield from _of_adapter(adapter, plugins)
    except (InvalidFile, Conflict) as error:
        yield "refused", where, _told(error, paths[0])
    except NotRecognised as error:
        yield "unknown", where, _told(error, paths[0])
    except Incompatible as error:
        yield "base", where, _told(error, paths[0])
    except (MemoryError, RecursionError) as error:
        yield "exhausted", where, f"reading it ended in {type(error).__name__}"


def _misfits(adapter: Adapter, base: Base | None, plugins: Host) -> Iterator[Found]:
    if base is None:
        return
    try:
        check_fits(adapter, base, plugins)
    except Incompatible as error:
        yield "base", _name(adapter), str(error)


def _of_adapter(adapter: Adapter, plugins: Host) -> Iterator[Found]:
    report = adapter.report
    if len(report.unmapped) > len(report.used):
        what = f"{len(report.unmapped):,} keys are not understood, {len(report.used):,} are"
        yield "mostly unmapped", _name(adapter), what
    for key, why in report.unmapped:
        yield "unmapped", key, f"not understood: {why}"
    for what, why in report.ambiguous:
        yield ("undecided" if what in _HARMLESS else "ambiguous"), what, why
    for each in conflicts(adapter, plugins, hashed=True):
        yield "conflict", each.key, str(each)
    for path, layers in adapter.layers.items():
        for layer in layers:
            yield from _of_scale(str(path), layer.scale)
    used = frozenset(report.used)
    with reading() as read:
        for where, ref in _tensors(adapter):
            if not finite(ref, read):
                yield "not finite", where, f"{ref.dtype}{list(ref.shape)} holds NaN or infinity"
            if not ref.numel and where in used:
                yield "empty", where, f"{ref.dtype}{list(ref.shape)} holds no numbers"
    yield from _of_alphas(adapter, plugins)
    yield from _checksums(adapter, plugins)


def _of_scale(where: str, scale: float) -> Iterator[Found]:
    if not math.isfinite(scale) or abs(scale) > LARGEST_SCALE:
        yield "scale", where, f"a scale of {scale:g} makes no sense"
    elif abs(scale) > LARGE_SCALE:
        yield "large scale", where, f"a scale of {scale:g} is doubtful"
    if scale < 0:
        yield "negative scale", where, f"a scale of {scale:g} turns it round"
    if scale == 0:
        yield "zero scale", where, "its scale is 0, so it does nothing"


def _of_alphas(adapter: Adapter, plugins: Host) -> Iterator[Found]:
    """Yield the alphas of 0 that a scale should have come from; to other kinds (OFT) alpha is something else."""
    kinds = plugins.kinds()
    endings = tuple(
        f".{suffix}"
        for kind in kinds.values()
        for spelling in kind.spellings
        for suffix, slot in spelling.slots.items()
        if slot == ALPHA
    )
    for frame in adapter.origin:
        for path, layers in frame.layers.items():
            if not any(kinds[layer.kind].rank for layer in layers):
                continue
            for key in frame.keys.get(path, ()):
                if key.endswith(endings) and _is_zero(frame.source.tensors[key]):
                    yield "alpha", key, "an alpha of 0 is read as the rank"


def _is_zero(ref: TensorRef) -> bool:
    try:
        return ref.item() == 0
    except InvalidArgument:  # no single number
        return False


def _tensors(adapter: Adapter) -> Iterator[tuple[str, TensorRef]]:
    """Yield every tensor of the sources by its key, and of what was changed since, by module and slot or by token."""
    for frame in adapter.origin:
        yield from frame.source.tensors.items()
    for path, layers in adapter.layers.items():
        read = [layer for frame in adapter.origin for layer in frame.layers.get(path, ())]
        for layer in layers:
            if not any(layer is each for each in read):
                yield from ((f"{path} {slot}", ref) for slot, ref in layer.slots.items())
    for text, token in adapter.tokens.items():
        if not any(frame.tokens.get(text) is token for frame in adapter.origin):
            yield from ((f"{text} {name}", ref) for name, ref in token.vectors.items())


def _checksums(adapter: Adapter, plugins: Host) -> Iterator[Found]:
    for path in (path for frame in adapter.origin for path in frame.source.paths):
        verify = next((each.verify for each in plugins.containers().values() if each.sniff(path)), None)
        if verify:
            try:
                verify(path)
            except InvalidFile as error:
                yield "checksum", path.name, _told(error, path)


def _is_program(path: Path, plugins: Host) -> bool:
    programs = [each for each in plugins.containers().values() if each.program]
    files = list(islice(_files(path), _MOST_FILES + 1))
    return len(files) > _MOST_FILES or any(each.sniff(file) for file in files for each in programs)


def _files(path: Path) -> Iterator[Path]:
    return (each for each in (path.iterdir() if path.is_dir() else [path]) if each.is_file())


def _name(adapter: Adapter) -> str:
    return adapter.origin[0].path.name if adapter.origin else adapter.base


def _told(error: Exception, path: Path) -> str:
    """Return what an error says, without the path that stands beside it anyway."""
    return str(error).removeprefix(str(path)).removeprefix(str(path.absolute())).lstrip(": ")
