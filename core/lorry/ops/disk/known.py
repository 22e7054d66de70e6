"""What reading whole files has told, kept on this machine for as long as each file stays what it is.

A file is what it was while its device, inode, size, time of modification and time of change are: the last nobody can
set. One that changed less than two seconds before it is read may change again within one tick of its disk's clock, so
that nothing of it is kept (git's index calls such an entry racy). The hashes that are told of inputs come from here;
what verifies, validates or publishes reads every byte.

Kept in a file of SQLite in LORRY_CACHE, by default the platform's folder for caches; where that cannot be written or
LORRY_CACHE is empty, files are read anew. It may be deleted at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

_NAME = "files-1.sqlite"
_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a disk (FAT) ticks every two seconds."""

_TABLE = """
CREATE TABLE IF NOT EXISTS known (
    place TEXT, what TEXT, state TEXT, told TEXT, PRIMARY KEY (place, what)
) WITHOUT ROWID
"""


class _Look(NamedTuple):
    """A file as the system tells it: where it lies, and what changes whenever its bytes do."""

    place: str
    state: str
    changed_ns: int

    @classmethod
    def at(cls, path: Path) -> _Look | None:
        try:
            found = path.stat()
        except OSError:  # whoever reads the file says what is wrong
            return None
        return cls(
            place=f"{found.st_dev}:{found.st_ino}",
            state=f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}",
            changed_ns=max(found.st_mtime_ns, found.st_ctime_ns),
        )


def known(path: Path, what: str, find: Callable[[], str]) -> str:
    """Return what `find` tells of the file at `path` under the name `what`, without asking where that is known."""
    now = time.time_ns()
    look = _Look.at(path)
    if look is None:
        return find()
    told = _kept(look, what)
    if told is None:
        told = find()
        if now - look.changed_ns > _SETTLED_NS and _Look.at(path) == look:
            _keep(look, what, told)
    return told


def _kept(look: _Look, what: str) -> str | None:
    query = "SELECT told FROM known WHERE place = ? AND what = ? AND state = ?"
    found = _ask(query, look.place, what, look.state)
    return found[0] if found else None


def _keep(look: _Look, what: str, told: str) -> None:
    _ask("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", look.place, what, look.state, told)


def _ask(statement: str, *values: str) -> tuple[str] | None:
    """Return the row that a statement gives, None where it gives none or something is wrong with the cache."""
    folder = cache_folder()
    if folder is None:
        return None
    import sqlite3

    with suppress(sqlite3.Error, OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / _NAME, timeout=1, isolation_level=None)) as cache:
            cache.execute("PRAGMA journal_mode = WAL")
            cache.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last entries, and breaks nothing
            cache.execute(_TABLE)
            found: tuple[str] | None = cache.execute(statement, values).fetchone()
            return found
    return None


def cache_folder() -> Path | None:
    """Return LORRY_CACHE, or the platform's folder for caches; None where nothing is to be kept."""
    told = os.environ.get("LORRY_CACHE")
    if told is not None:
        return Path(told) if told else None
    from platformdirs import user_cache_path

    return user_cache_path("lorry", appauthor=False)
