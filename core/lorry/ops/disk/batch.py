"""Many adapters at once: finding them below folders, and working through them in several processes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from lorry.errors import NotFound
from lorry.plugin.host import Host, host

T = TypeVar("T")

FEW = 64
"""Up to so many files are read faster in this process than others are started."""

_CHUNK = 16


def find(paths: Iterable[str | Path], plugins: Host | None = None) -> list[Path]:
    """List adapters: files as they are given, and below folders every file of a container, in order of names.

    A folder with a dialect's side file (peft's adapter_config.json) is one adapter. Hidden files and folders and
    links to folders are passed over. A folder that may not be looked into stands for what is in it, so that whoever
    reads it is told. Raises NotFound for a path that is not there.
    """
    plugins = plugins or host()
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise NotFound(f"{path} does not exist; check the path")
        found |= dict.fromkeys(_below(path, plugins) if path.is_dir() else [path])
    return list(found)


def _below(folder: Path, plugins: Host) -> Iterator[Path]:
    suffixes = {suffix for each in plugins.containers().values() for suffix in each.suffixes}
    sides = {name for each in plugins.dialects().values() if each.header for name in each.header.sides}
    closed: list[OSError] = []
    for at, folders, files in os.walk(folder, onerror=closed.append):
        if not sides.isdisjoint(files):
            folders.clear()
            yield Path(at)
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(at, name)
            if path.suffix.lower() in suffixes and not name.startswith(".") and not _is_text(path, plugins):
                yield path
    yield from (Path(each.filename) for each in closed)


def _is_text(path: Path, plugins: Host) -> bool:
    """Tell whether a .json file is something else than tensors: most are a model's or a tool's settings."""
    return path.suffix.lower() == ".json" and not any(each.sniff(path) for each in plugins.containers().values())


def work(do: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """Yield what `do`, a function of a module, makes of each path, in order; many are shared among the CPU's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(paths) <= FEW or cores == 1:
        yield from map(do, paths)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Fresh processes: a copy of one with threads may hang. Collecting garbage takes a tenth of their time.
    with ProcessPoolExecutor(cores, get_context("spawn"), gc.set_threshold, (100_000,)) as pool:
        try:
            yield from pool.map(do, paths, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def outputs(
    paths: Iterable[Path], roots: Iterable[str | Path], folder: Path | None, suffixes: Sequence[str]
) -> dict[Path, Path]:
    """Return where each path is written: below `folder` as it lies below its root, or beside itself where None.

    Its suffix is one of `suffixes`: its own, else the first; a path in a format without one is a folder. Two may be
    told the same place.
    """
    tops = [Path(root) for root in roots if Path(root).is_dir()]
    places: dict[Path, Path] = {}
    for path in paths:
        top = next((each for each in tops if each in path.parents), path.parent)
        place = path if folder is None else folder / path.relative_to(top)
        suffix = path.suffix if path.suffix in suffixes else "".join(suffixes[:1])
        places[path] = place.with_name((place.name if path.is_dir() else place.stem) + suffix)
    return places
