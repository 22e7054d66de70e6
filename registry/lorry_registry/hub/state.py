"""Aliases and notes on both sides: what the registry says of its versions, and two small files on the branch main.

Lorry's own clients read and write `aliases.json` and `notes.json` there, as on the Hub. What a client commits to them
is said in the registry too, and what is said in the registry comes into them by a commit of the server's own. Which
commit both sides last agreed in is written down, so that each knows what the other changed since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from lorry.errors import InvalidFile, LorryError, NotFound
from lorry_registry.home.store import LocalStore
from lorry_registry.hub.commits import Commit, Entry, plain_entry
from lorry_registry.hub.made import holding, making
from lorry_registry.references.reference import LATEST, Reference, parse_alias
from lorry_registry.references.semver import Version
from lorry_registry.remotes.hub.contents import ALIASES, NOTES
from lorry_registry.version.notes import NOTHING, Note

if TYPE_CHECKING:
    from lorry_registry.hub.hub import HubRepository

Tables = dict[str, dict[str, str]]
"""By the name of the file: version by alias, and what is said by version."""


def said_here(store: LocalStore, adapter: Reference) -> Tables:
    """Return what the registry says; "latest" is for each side to work out."""
    records = store.records(adapter)
    aliases = {alias: str(version) for alias, version in records.aliases().items() if alias != LATEST}
    notes = {str(version): note for version in records.versions() if (note := records.note(version)) != NOTHING}
    return {ALIASES: aliases, NOTES: {version: note.to_bytes().decode() for version, note in notes.items()}}


def said_in(store: LocalStore, files: Mapping[str, Entry]) -> Tables:
    """Return what the files of a commit say; raise InvalidFile for what is no table of texts."""
    return {name: _table(store, name, files) for name in (ALIASES, NOTES)}


def check(store: LocalStore, adapter: Reference, files: Mapping[str, Entry]) -> None:
    """Raise InvalidFile, InvalidArgument or NotFound where the files of a commit say what cannot be."""
    versions = store.records(adapter).versions()
    for name, table in said_in(store, files).items():
        for key, value in table.items():
            version = Version.parse(value if name == ALIASES else key)
            parse_alias(key) if name == ALIASES else Note.from_bytes(value.encode())
            if versions and version not in versions:
                raise NotFound(f"{name} speaks of version {version}, which {adapter} does not have")


def agree(repository: HubRepository, commit: Commit) -> Commit:
    """Say in the registry what clients said since both agreed last; return the commit that main is to be at.

    That is the given one where it says what the registry says, else one that follows it.
    """
    store, adapter, written = repository.store, repository.reference, repository.written
    agreed = written.agreed()
    theirs = said_in(store, commit.files)
    writable = store.layout.writable
    if writable and agreed != commit.id and written.commit(commit.id):
        before = written.commit(agreed) if agreed else None
        _adopt(store, adapter, said_in(store, before.files if before else {}), theirs)
    ours = said_here(store, adapter)
    if _same(ours, theirs):
        if writable and agreed != commit.id and written.commit(commit.id):
            written.agree(commit.id)
        return commit
    return _with_state(repository, commit, ours)


def _with_state(repository: HubRepository, commit: Commit, tables: Tables) -> Commit:
    """Return a commit that follows another and says what the registry says."""
    blobs, files = making(repository.store), dict(commit.files)
    for name, table in tables.items():
        data = json.dumps(table, indent=2, sort_keys=True).encode() + b"\n"
        if table or name in files:
            files[name] = plain_entry(data)
            blobs.add_bytes(data)
    return Commit(files=files, parent=commit.id, title="Say what the registry says", author="lorry", time=commit.time)


def _same(ours: Tables, theirs: Tables) -> bool:
    """Tell whether two say the same, however it is written: another version of lorry may write notes otherwise."""
    try:
        notes = [
            {version: Note.from_bytes(text.encode()) for version, text in each[NOTES].items()}
            for each in (ours, theirs)
        ]
    except InvalidFile:
        return False
    return ours[ALIASES] == theirs[ALIASES] and notes[0] == notes[1]


def _adopt(store: LocalStore, adapter: Reference, before: Tables, after: Tables) -> None:
    """Say in the registry what is new in tables; what cannot be, such as an alias of a yanked version, is not."""
    for name, table in after.items():
        for key, value in table.items():
            if before[name].get(key) != value:
                with suppress(LorryError):
                    _say(store, adapter, name, key, value)


def _say(store: LocalStore, adapter: Reference, name: str, key: str, value: str) -> None:
    if name == ALIASES:
        store.set_alias(adapter.at(parse_alias(key)), Version.parse(value))
    else:
        note = Note.from_bytes(value.encode())
        store.say(adapter.at(Version.parse(key)), lambda _: note, "hub")


def _table(store: LocalStore, name: str, files: Mapping[str, Entry]) -> dict[str, str]:
    if name not in files:
        return {}
    try:
        found = json.loads(holding(store, files[name].sha256).read(files[name].sha256))
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{name} is no JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidFile(f"{name} should be an object of texts")
    return found
