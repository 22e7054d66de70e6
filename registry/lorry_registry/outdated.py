"""What is used and could be newer, or should not be used any more: here, or beside what a remote has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lorry.errors import NotFound
from lorry_registry.notes import NOTHING, Note
from lorry_registry.reference import Alias, Digest, Reference
from lorry_registry.remotes.address import open_remote
from lorry_registry.semver import Version
from lorry_registry.shelf import shelf_here, shelf_there
from lorry_registry.store import LocalStore

_SHOWN = 3


class Used(NamedTuple):
    """A version that is used, and the reference by which it was asked for."""

    asked: Reference
    version: Version


class Outdated(NamedTuple):
    """A version that is used and not the newest, or has a note.

    fitting: the highest version that what was asked for finds now. newest: the highest stable one. None: there is none.
    """

    used: Used
    fitting: Version | None
    newest: Version | None
    note: Note


def everything(store: LocalStore) -> Iterator[Used]:
    """Yield the highest version of every adapter that its bare name finds here."""
    for adapter, _ in store.adapters():
        newest = shelf_here(store, adapter).highest(adapter)
        if newest:
            yield Used(adapter, newest)


def outdated(store: LocalStore, uses: Sequence[Used], place: str = "") -> Iterator[Outdated]:
    """Yield what could be newer, or is yanked, deprecated or not to be found; beside a remote with a `place`.

    Raises NotFound for a place that has none of what is used.
    """
    shelves = [shelf_there(open_remote(place, used.asked)) if place else shelf_here(store, used.asked) for used in uses]
    if place and uses and not any(shelf.versions for shelf in shelves):
        names = ", ".join(used.asked.adapter for used in uses[:_SHOWN])
        more = f" (and {len(uses) - _SHOWN} more)" if len(uses) > _SHOWN else ""
        raise NotFound(f"{place} has none of {names}{more}; check the place")
    for used, shelf in zip(uses, shelves, strict=True):
        asked = used.asked.at(used.version) if isinstance(used.asked.selector, Digest) else used.asked
        fitting, newest = shelf.highest(asked), shelf.highest(asked.at(None))
        found = Outdated(used, fitting, newest, shelf.notes.get(used.version, NOTHING))
        # An alias may move back; a range that finds less elsewhere only tells that what is here was not pushed there.
        back = fitting is not None and isinstance(used.asked.selector, Alias) and fitting < used.version
        ahead = any(version and version > used.version for version in (fitting, newest))
        if found.note.warns or back or ahead or (fitting is None and not place):
            yield found
