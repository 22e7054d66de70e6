"""What a place has of one adapter: versions, aliases and notes, told alike of this registry and of remotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lorry.plugin.remote import Remote
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Alias, Reference
from lorry_registry.references.resolve import meant
from lorry_registry.references.semver import Version
from lorry_registry.remotes.remote_notes import notes_there
from lorry_registry.version.notes import NOTHING, Note


class Shelf(NamedTuple):
    """The versions of one adapter, lowest first, what each alias stands for, and what is said of some of them."""

    versions: list[Version]
    aliases: Mapping[str, Version]
    notes: Mapping[Version, Note]

    def highest(self, asked: Reference) -> Version | None:
        """Return the version that a reference finds here; a yanked one is found by its number alone."""
        found = meant(asked.selector, lambda: self.versions, self._alias, self._yanked)
        exact = isinstance(asked.selector, Version)
        return max(
            (each for each in found if each in self.versions and (exact or not self._yanked(each))), default=None
        )

    def _alias(self, alias: Alias) -> Version | None:
        return self.aliases.get(alias.name)

    def _yanked(self, version: Version) -> bool:
        return self.notes.get(version, NOTHING).yanked is not None


def shelf_here(store: LocalStore, adapter: Reference) -> Shelf:
    """Return what this registry has of an adapter."""
    records = store.records(adapter)
    versions = list(records.versions())
    return Shelf(versions, records.aliases(), {version: records.note(version) for version in versions})


def shelf_there(remote: Remote) -> Shelf:
    """Return what a remote has."""
    aliases = {name: Version.parse(text) for name, text in remote.aliases().items()}
    return Shelf(sorted(map(Version.parse, remote.versions())), aliases, notes_there(remote))
