"""The index: what all manifests say, in one sqlite file that answers quickly.

A cache and nothing more. Whoever reads it first brings it up to date with the versions there are, so that
publishing never waits for it; where it is missing, damaged or of another schema it is made anew, and where
the home cannot be written to it is made in memory. Which adapters have new versions, the times of their folders
tell, once these are older than any disk's clock is coarse: of two publishes in one tick the second would be missed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from lorry_registry.home.index_file import opened, prepare
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version
from lorry_registry.version.notes import NOTHING, Note

P = ParamSpec("P")
T = TypeVar("T")

_COLUMNS = "adapter, version, manifest, title, kinds, format, base, size, fault, note"


class Entry(NamedTuple):
    """One version as the index knows it; `fault` says why its manifest or note cannot be read, or is empty."""

    reference: Reference
    manifest: str
    title: str = ""
    kinds: tuple[str, ...] = ()
    format: str = ""
    base: str = ""
    size: int = 0
    fault: str = ""
    note: Note = NOTHING


class Listed(NamedTuple):
    """One adapter: the version to show of those that were asked for, and which there are of it, asked for or not.

    `newest` is the highest stable one that is not yanked, or else the highest. `all_versions`, `yanked_versions` and
    `deprecated_versions` are texts of version numbers, with commas between them, in any order.
    """

    newest: Entry
    all_versions: str
    yanked_versions: str
    deprecated_versions: str


class Asked(NamedTuple):
    """What is looked for: words that all stand somewhere in a version, the beginning of a base's id, and a kind."""

    words: Sequence[str] = ()
    base: str = ""
    kind: str = ""


def _healing(ask: Callable[Concatenate[LocalStore, P], T]) -> Callable[Concatenate[LocalStore, P], T]:
    """Make the index anew and ask again where what it holds makes no sense: a bit may have flipped."""

    @wraps(ask)
    def answer(store: LocalStore, /, *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return ask(store, *arguments, **named)
        except (sqlite3.Error, ValueError, AttributeError):
            if store.layout.writable:
                store.layout.index.unlink(missing_ok=True)
            return ask(store, *arguments, **named)

    return answer


@_healing
def list_adapters(store: LocalStore, asked: Asked | None = None) -> list[Listed]:
    """Return the adapters of which a version is as asked, all where nothing is asked; see `search`."""
    last, where, values = _conditions(asked)
    those = f"adapter IN (SELECT adapter FROM version WHERE {where})" if asked else "1"  # noqa: S608  only literals are put together
    with opened(store) as connection:
        # Of columns beside one max() sqlite gives those of the row that has it: sqlite.org/lang_select.html#bareagg.
        rows = connection.execute(
            f"SELECT max(({where}) || (stable AND NOT yanked) || place), {_COLUMNS}, group_concat(version), "  # noqa: S608  only literals are put together
            "group_concat(CASE WHEN yanked THEN version END), group_concat(CASE WHEN deprecated THEN version END) "
            f"FROM version WHERE {those} GROUP BY adapter ORDER BY sum(({where}) AND NOT {last}) = 0, adapter",
            values,
        ).fetchall()
    return [Listed(_entry(*row[1:-3]), *(text or "" for text in row[-3:])) for row in rows]


@_healing
def list_versions(store: LocalStore) -> list[Entry]:
    """Return every version of every adapter: by name, and the lowest version first."""
    with opened(store) as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM version ORDER BY adapter, place").fetchall()  # noqa: S608  a literal
    return [_entry(*row) for row in rows]


@_healing
def search(store: LocalStore, asked: Asked) -> list[Entry]:
    """Return the versions that every word stands somewhere in, upper and lower case alike.

    Looked at are name, title, tags, trigger words, tokens, and the description, whose finds come last. `base` is the
    beginning of a base table's id. Within that order they come by name, and the lowest version first.
    """
    last, where, values = _conditions(asked)
    with opened(store) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM version WHERE {where} ORDER BY {last}, adapter, place",  # noqa: S608  only literals are put together
            values,
        ).fetchall()
    return [_entry(*row) for row in rows]


def _conditions(asked: Asked | None) -> tuple[str, str, dict[str, str]]:
    """Return SQL that tells which versions come last, SQL that tells which are as asked, and the values in both."""
    if asked is None:
        return "0", "1", {}
    names = {f"word{at}": word.casefold() for at, word in enumerate(asked.words)}
    in_words = " AND ".join(["1", *(f"instr(words, :{name}) > 0" for name in names)])
    anywhere = " AND ".join(["1", *(f"(instr(words, :{name}) OR instr(prose, :{name}))" for name in names)])
    where = f"fault = '' AND base LIKE :base || '%' AND {anywhere}"
    if asked.kind:
        where += " AND instr(',' || kinds || ',', ',' || :kind || ',')"
    return f"NOT ({in_words})", where, {**names, "base": asked.base, "kind": asked.kind}


@_healing
def find_file(store: LocalStore, sha256: str) -> list[tuple[Reference, str]]:
    """Return the versions that hold a file of these bytes, with their manifests' digests, lowest first."""
    with opened(store) as connection:
        rows = connection.execute(
            "SELECT DISTINCT adapter, version, manifest FROM file JOIN version USING (adapter, version) "
            "WHERE sha256 = ?",
            (sha256,),
        ).fetchall()
    found = [(_reference(adapter, version), manifest) for adapter, version, manifest in rows]
    return sorted(found, key=lambda each: (each[0].adapter, each[0].exact().precedence))


def is_right(store: LocalStore) -> bool:
    """Tell whether the index says what the manifests say, which are all read for it."""
    if not store.layout.index.is_file():
        return True
    try:
        with opened(store) as kept, closing(prepare(Path(":memory:"), store)) as fresh:
            return _all(kept) == _all(fresh)
    except (sqlite3.Error, ValueError):
        return False


def _all(connection: sqlite3.Connection) -> list[list[Any]]:
    tables = ("version", "file")
    return [sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables]  # noqa: S608  two literals


def _entry(adapter: str, version: str, manifest: str, title: str, kinds: str, *rest: Any) -> Entry:  # noqa: ANN401  a row
    *facts, note = rest
    listed = tuple(kinds.split(",")) if kinds else ()
    entry = Entry(_reference(adapter, version), manifest, title, listed, *facts)
    return entry if entry.fault or not note else entry._replace(note=Note.from_bytes(note.encode()))


def _reference(adapter: str, version: str) -> Reference:
    namespace, name = adapter.split("/")
    return Reference(namespace, name, Version.parse(version))
