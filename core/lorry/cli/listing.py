"""One line for each of many adapters: what `inspect -r` and `identify -r` print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lorry.cli.output import columns, complain, echo_json, progress, reason
from lorry.errors import LorryError, NotFound

Told = Mapping[str, Any]


def listing(
    paths: Sequence[str],
    tell: Callable[[Path], Told],
    headings: Sequence[str],
    row: Callable[[Told], Sequence[object]],
    *,
    as_json: bool,
) -> list[Told]:
    """Print a table, or a line of JSON each, of what `tell` says of every adapter at and below `paths`; return it.

    One that cannot be read is told on stderr (in JSON by its line), and the others go on. Raises LorryError at
    the end where there was one, and NotFound where there is no adapter at all.
    """
    from lorry.ops.disk.batch import find, work

    found = find(paths)
    if not found:
        raise NotFound(f"there is no adapter in {', '.join(paths)}")
    told = progress(work(partial(_told, tell), found), len(found), "reading")
    rows = []
    said = []
    failed = 0
    for each in told:
        said.append(each)
        failed += "error" in each
        if as_json:
            echo_json(each, indent=None)
        elif "error" in each:
            complain(each["error"])
        else:
            rows.append((*row(each), each["path"]))
    if rows:
        columns((*headings, "path"), rows)
    if failed:
        raise LorryError(f"{failed} of {len(found)} could not be read")
    return said


def _told(tell: Callable[[Path], Told], path: Path) -> Told:
    try:
        return {"path": str(path), **tell(path)}
    except (LorryError, OSError) as error:
        return {"path": str(path), "error": reason(error)}
