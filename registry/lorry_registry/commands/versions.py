"""lorry versions: the versions of an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

from lorry.cli import options
from lorry.cli.output import echo_json, table
from lorry_registry.commands import arguments

if TYPE_CHECKING:
    from lorry_registry.references.semver import Version
    from lorry_registry.shelf import Shelf
    from lorry_registry.version.notes import Note


class _Row(NamedTuple):
    version: str
    aliases: list[str]
    published: str | None
    manifest: str | None
    note: Note


@click.command("versions")
@click.argument("adapter", metavar="[PLACE#]NS/NAME")
@options.as_json
def command(adapter: str, as_json: bool) -> None:
    """List the versions of an adapter, the highest first, with their aliases, when they were published, and notes.

    With PLACE (as in lorry push) those that are there, and what is said of them there.
    """
    rows = list(_there(adapter) if "://" in adapter else _here(adapter))
    if as_json:
        echo_json([{**row._asdict(), "note": str(row.note), **row.note.said} for row in rows])
        return
    headings = ("version", "aliases", "published", "manifest", "note")
    cells = [
        (row.version, ", ".join(row.aliases), row.published or "", arguments.short(row.manifest), row.note)
        for row in rows
    ]
    table(adapter, headings, cells)


def _here(adapter: str) -> Iterator[_Row]:
    from lorry_registry import Registry
    from lorry_registry.references.reference import Reference
    from lorry_registry.shelf import shelf_here

    registry, reference = Registry(), Reference.parse(adapter)
    registry.versions(adapter)
    records = registry.store.records(reference)
    return _rows(shelf_here(registry.store, reference), records.digest, records.log.published())


def _there(address: str) -> Iterator[_Row]:
    from lorry.errors import InvalidArgument, NotFound
    from lorry_registry.remotes.address import Address, open_remote
    from lorry_registry.shelf import shelf_there

    place, reference = Address.parse(address)
    if reference and reference.selector:
        raise InvalidArgument(f"all versions are meant: write {place}#{reference.adapter}")
    remote = open_remote(place, reference)
    shelf = shelf_there(remote)
    if not shelf.versions:
        raise NotFound(f"there is nothing of that name at {address}; check the place and the name")
    return _rows(shelf, lambda version: remote.manifest(str(version)), {})


def _rows(shelf: Shelf, digest: Callable[[Version], str | None], published: Mapping[str, str]) -> Iterator[_Row]:
    from lorry_registry.version.notes import NOTHING

    for version in reversed(shelf.versions):
        aliases = [name for name, target in shelf.aliases.items() if target == version]
        note = shelf.notes.get(version, NOTHING)
        yield _Row(str(version), aliases, published.get(str(version)), digest(version), note)
