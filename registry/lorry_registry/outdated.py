"""What is used and could be newer, or should not be used any more: here, or beside what a remote has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from lorry.plugin.remote import Remote
from lorry_registry.notes import NOTHING, Note
from lorry_registry.reference import Alias, Digest, Reference
from lorry_registry.remotes.remote_notes import notes_there
from lorry_registry.resolve import meant
from lorry_registry.semver import Version
from lorry_registry.store import LocalStore


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


class _Shelf(NamedTuple):
    """What a place has of one adapter."""

    versions: list[Version]
    aliases: Mapping[str, Version]
    notes: Mapping[Version, Note]


def everything(store: LocalStore) -> Iterator[Used]:
    """Yield the highest version of every adapter that its bare name finds here."""
    for adapter, _ in store.adapters():
        newest = _highest(_here(store, adapter), adapter)
        if newest:
            yield Used(adapter, newest)


def outdated(
    store: LocalStore, uses: Iterable[Used], remote: Callable[[Reference], Remote] | None = None
) -> Iterator[Outdated]:
    """Yield what could be newer, or is yanked, deprecated or not to be found; beside a remote where one is given."""
    for used in uses:
        shelf = _there(remote(used.asked)) if remote else _here(store, used.asked)
        asked = used.asked.at(used.version) if isinstance(used.asked.selector, Digest) else used.asked
        fitting, newest = _highest(shelf, asked), _highest(shelf, asked.at(None))
        found = Outdated(used, fitting, newest, shelf.notes.get(used.version, NOTHING))
        # An alias may move back; a range that finds less elsewhere only tells that what is here was not pushed there.
        back = fitting is not None and isinstance(used.asked.selector, Alias) and fitting < used.version
        ahead = any(version and version > used.version for version in (fitting, newest))
        if found.note.warns or back or ahead or (fitting is None and remote is None):
            yield found


def _here(store: LocalStore, reference: Reference) -> _Shelf:
    records = store.records(reference)
    versions = list(records.versions())
    return _Shelf(versions, records.aliases(), {version: records.note(version) for version in versions})


def _there(remote: Remote) -> _Shelf:
    aliases = {name: Version.parse(text) for name, text in remote.aliases().items()}
    return _Shelf(sorted(map(Version.parse, remote.versions())), aliases, notes_there(remote))


def _highest(shelf: _Shelf, asked: Reference) -> Version | None:
    """Return the version that a reference finds on a shelf."""

    def yanked(version: Version) -> bool:
        return shelf.notes.get(version, NOTHING).yanked is not None

    def alias(name: Alias) -> Version | None:
        return shelf.aliases.get(name.name)

    found = meant(asked.selector, lambda: shelf.versions, alias, yanked)
    exact = isinstance(asked.selector, Version)
    return max((each for each in found if each in shelf.versions and (exact or not yanked(each))), default=None)
