"""What is used and could be newer, or should not be used any more: here, or beside what a remote has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import NotFound
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Alias, Digest, Reference
from lorry_registry.references.semver import Version
from lorry_registry.remotes.address import open_remote
from lorry_registry.shelf import shelf_here, shelf_there
from lorry_registry.version.notes import NOTHING, Note

if TYPE_CHECKING:
    from lorry_registry.lock import Lock

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


def used(store: LocalStore, locked: Lock | None = None) -> Iterator[Used]:
    """Yield what a lock uses, or else the highest version of every adapter that its bare name finds here."""
    if locked:
        yield from (Used(Reference.parse(each.reference), each.exact.exact()) for each in locked.adapters)
        return
    for adapter, _ in store.adapters():
        newest = shelf_here(store, adapter).highest(adapter)
        if newest:
            yield Used(adapter, newest)


def outdated(store: LocalStore, uses: Sequence[Used], place: str = "") -> Iterator[Outdated]:
    """Yield what could be newer, or is yanked, deprecated or not to be found; beside a remote with a `place`.

    Raises NotFound for a place that has none of what is used.
    """
    shelves = [shelf_there(open_remote(place, use.asked)) if place else shelf_here(store, use.asked) for use in uses]
    if place and uses and not any(shelf.versions for shelf in shelves):
        names = ", ".join(use.asked.adapter for use in uses[:_SHOWN])
        more = f" (and {len(uses) - _SHOWN} more)" if len(uses) > _SHOWN else ""
        raise NotFound(f"{place} has none of {names}{more}; check the place")
    for use, shelf in zip(uses, shelves, strict=True):
        asked = use.asked.at(use.version) if isinstance(use.asked.selector, Digest) else use.asked
        fitting, newest = shelf.highest(asked), shelf.highest(asked.at(None))
        found = Outdated(use, fitting, newest, shelf.notes.get(use.version, NOTHING))
        # An alias may move back; a range that finds less elsewhere only tells that what is here was not pushed there.
        back = fitting is not None and isinstance(use.asked.selector, Alias) and fitting < use.version
        ahead = any(version and version > use.version for version in (fitting, newest))
        if found.note.warns or back or ahead or (fitting is None and not place):
            yield found
