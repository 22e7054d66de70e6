"""What a disk can do, found out by doing it in a folder of its own that is gone afterwards.

Nothing else asks: publishing tries a hard link and falls back (see `durable.put_new`), so a disk that changes under it
is served all the same. This is for telling people.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from lorry_registry.disk import durable


class Disk(NamedTuple):
    """What the disk of a folder is and can do.

    kind: "ext4", "nfs4", "vfat" …, "" where the system does not say. free: bytes. links: hard links. syncs: what was
    written can be made durable, files and names. locks: sqlite can lock a file, without which the index is made anew
    each time.
    """

    kind: str
    free: int
    links: bool
    syncs: bool
    locks: bool


def probe(folder: Path) -> Disk:
    """Find out what the disk of an existing folder can do; raise OSError where nothing can be written there."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="lorry-doctor-") as made:
        place = Path(made)
        (place / "file").write_bytes(b"lorry")
        return Disk(
            kind=kind(folder),
            free=shutil.disk_usage(folder).free,
            links=_links(place),
            syncs=_syncs(place),
            locks=_locks(place),
        )


def kind(folder: Path) -> str:
    """Return the kind of the file system a folder is on, as Linux names it; "" on other systems."""
    if sys.platform != "linux":
        return ""
    path, best = str(folder.resolve()), ("", "")
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")  # a blank, as fstab(5) writes it
        if (path == point or path.startswith(f"{point.rstrip('/')}/")) and len(point) >= len(best[0]):
            best = (point, name)
    return best[1]


def _links(place: Path) -> bool:
    try:
        os.link(place / "file", place / "link")
    except OSError:
        return False
    return True


def _syncs(place: Path) -> bool:
    try:
        durable.write(place / "synced", b"lorry")
        durable.sync_folder(place)
    except OSError:
        return False
    return True


def _locks(place: Path) -> bool:
    try:
        with closing(sqlite3.connect(place / "index.sqlite", timeout=1)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE one (number)")
    except sqlite3.Error:
        return False
    return True
