"""Mending what fsck found, with the right bytes from folders and from other places."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lorry_registry.home.store import LocalStore
from lorry_registry.remotes.address import open_remote
from lorry_registry.remotes.check import mend
from lorry_registry.upkeep import fsck
from lorry_registry.upkeep.fsck import Fault


def repair(store: LocalStore, faults: Iterable[Fault], places: Iterable[str | Path] = ()) -> tuple[Fault, ...]:
    """Mend faults; return those that are mended.

    A place is a folder, below which files may have any name, or an address such as "s3://bucket/folder".
    """
    named, faults = [str(place) for place in places], tuple(faults)
    mended = fsck.repair(store, faults, [Path(place).expanduser() for place in named if "://" not in place])
    for place in (each for each in named if "://" in each):
        left = [fault for fault in faults if fault not in mended]
        mended += mend(store, left, partial(open_remote, place))
    return mended
