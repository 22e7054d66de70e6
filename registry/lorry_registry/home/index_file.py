"""The file of the index: made, and brought up to date with the versions there are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import InvalidFile, LorryError, VerificationFailed
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.version.notes import NOTHING, Note

_SCHEMA = 5
_TICK_NS = 3_000_000_000
_TABLES = """
CREATE TABLE adapter (adapter TEXT PRIMARY KEY, changed INTEGER) WITHOUT ROWID;
CREATE TABLE version (
    adapter TEXT, version TEXT, manifest TEXT, title TEXT, kinds TEXT, format TEXT, base TEXT, size INTEGER,
    fault TEXT, note TEXT, place TEXT, stable INTEGER, yanked INTEGER, deprecated INTEGER, words TEXT, prose TEXT,
    PRIMARY KEY (adapter, version)
) WITHOUT ROWID;
CREATE TABLE file (sha256 TEXT, adapter TEXT, version TEXT);
CREATE INDEX file_sha256 ON file (sha256);
"""


@contextmanager
def opened(store: LocalStore) -> Iterator[sqlite3.Connection]:
    """Open the index, up to date, and close it at the end."""
    try:
        connection = prepare(store.layout.index if store.layout.writable else Path(":memory:"), store)
    except sqlite3.OperationalError:  # a home that is missing, a disk that cannot lock
        connection = prepare(Path(":memory:"), store)
    except sqlite3.DatabaseError:  # damaged
        store.layout.index.unlink(missing_ok=True)
        connection = prepare(store.layout.index, store)
    with closing(connection):
        yield connection


def prepare(path: Path, store: LocalStore) -> sqlite3.Connection:
    """Open the index at a path, or ":memory:", and bring it up to date."""
    connection = sqlite3.connect(path, timeout=5)
    try:
        with connection:
            # One writer at a time from here, so that two commands do not both make the tables.
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA:
                _make_tables(connection)
            _update(connection, store)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        connection.execute(f'DROP TABLE "{table}"')
    for statement in filter(str.strip, _TABLES.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_SCHEMA}")


def _update(connection: sqlite3.Connection, store: LocalStore) -> None:
    """Add the versions the index lacks and drop those that are gone; a version never changes, a note on it may."""
    there = {reference.adapter: (reference, changed) for reference, changed in store.adapters()}
    known = dict(connection.execute("SELECT adapter, changed FROM adapter"))
    faulty = {adapter for (adapter,) in connection.execute("SELECT adapter FROM version WHERE fault <> ''")}
    for adapter in known.keys() - there.keys():
        _update_adapter(connection, store, Reference.parse(adapter))
        connection.execute("DELETE FROM adapter WHERE adapter = ?", (adapter,))
    stale = [each for name, each in there.items() if name in faulty or known.get(name) != each[1]]
    settled = store.now_ns() - _TICK_NS if stale else 0
    for reference, changed in stale:
        _update_adapter(connection, store, reference)
        seen = changed if changed < settled else None
        connection.execute("INSERT OR REPLACE INTO adapter VALUES (?, ?)", (reference.adapter, seen))


def _update_adapter(connection: sqlite3.Connection, store: LocalStore, reference: Reference) -> None:
    """Bring the rows of one adapter up to date; versions that could not be read are read again."""
    adapter, records = reference.adapter, store.records(reference)
    there, notes = {str(version): version for version in records.versions()}, records.noted()
    rows = connection.execute("SELECT version, fault, note FROM version WHERE adapter = ?", (adapter,)).fetchall()
    gone = [
        (adapter, version)
        for version, fault, note in rows
        if fault or version not in there or note != notes.get(there[version], "")
    ]
    for table in ("version", "file"):
        connection.executemany(f"DELETE FROM {table} WHERE adapter = ? AND version = ?", gone)  # noqa: S608  two literals
    known = {version for version, _, _ in rows} - {version for _, version in gone}
    for text in sorted(there.keys() - known):
        key, note = (adapter, text), notes.get(there[text], "")
        facts = _read(store, reference.at(there[text]))
        said, fault = _read_note(note)
        connection.execute(
            "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *key,
                facts.manifest,
                facts.title,
                facts.kinds,
                facts.format,
                facts.base,
                facts.size,
                facts.fault or fault,
                note,
                there[text].sort_key,
                there[text].stable,
                said.yanked is not None,
                said.deprecated is not None,
                facts.words,
                facts.prose,
            ),
        )
        connection.executemany("INSERT INTO file VALUES (?, ?, ?)", ((sha256, *key) for sha256 in facts.files))


class _Facts(NamedTuple):
    """What the index needs of a manifest; `fault` says why it cannot be read.

    words, prose: what people file it under, and what is said of it, case folded. files: their sha256.
    """

    manifest: str
    title: str = ""
    kinds: str = ""
    format: str = ""
    base: str = ""
    size: int = 0
    words: str = ""
    prose: str = ""
    files: tuple[str, ...] = ()
    fault: str = ""


def _read(store: LocalStore, reference: Reference) -> _Facts:
    """Read a manifest as plain JSON: validating thousands would take pydantic seconds."""
    digest = ""
    try:
        digest = store.resolve(reference).digest
        return _facts(reference, digest, json.loads(store.blobs.read(digest)))
    except VerificationFailed as error:
        return _Facts(digest, fault=str(error))
    except (LorryError, ValueError, KeyError, TypeError) as error:
        return _Facts(digest, fault=f"its manifest cannot be read: {error}")


def _facts(reference: Reference, digest: str, manifest: dict[str, Any]) -> _Facts:
    told, adapter, files = manifest["id"], manifest["adapter"], manifest["files"]
    words = [reference.adapter, told["title"], *told["tags"], *adapter["trigger_words"], *adapter["tokens"]]
    return _Facts(
        manifest=digest,
        title=told["title"],
        kinds=",".join(adapter["kinds"]),
        format=adapter["format"],
        base=manifest["base"]["id"],
        size=sum(file["size"] for file in files),
        words="\n".join(words).casefold(),
        prose=told["description"].casefold(),
        files=tuple(file["sha256"] for file in files),
    )


def _read_note(note: str) -> tuple[Note, str]:
    """Return what a note says, and what is wrong with it."""
    try:
        return Note.from_bytes(note.encode() or b"{}"), ""
    except InvalidFile as error:
        return NOTHING, f"its note is damaged: {error}"
