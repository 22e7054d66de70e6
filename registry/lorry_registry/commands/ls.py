"""lorry ls: what the registry holds."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, echo_json, note
from lorry_registry.commands.arguments import size

if TYPE_CHECKING:
    from lorry_registry.index import Entry


@click.command("ls")
@click.argument("words", metavar="[WORD...]", nargs=-1)
@options.as_json
def command(words: tuple[str, ...], as_json: bool) -> None:
    """List the adapters in the registry; with WORD..., those whose name or title contains every word."""
    from lorry_registry import Registry

    registry = Registry()
    every = [entry for entry in registry.ls() if all(word.lower() in _text(entry) for word in words)]
    adapters = [list(entries) for _, entries in groupby(every, key=lambda entry: entry.reference.adapter)]
    if as_json:
        echo_json([_told(entries) for entries in adapters])
        return
    if not adapters:
        note(f"nothing {'of that name ' if words else ''}in the registry at {registry.home}; lorry publish adds to it")
        return
    headings = ("adapter", "version", "versions", "kind", "base", "size", "title")
    columns(headings, [_row(entries) for entries in adapters])


def newest(entries: list[Entry]) -> Entry:
    """Return the highest stable version, or the highest where none is stable."""
    return next((entry for entry in reversed(entries) if entry.reference.exact().stable), entries[-1])


def _row(entries: list[Entry]) -> tuple[object, ...]:
    entry = newest(entries)
    name, version = entry.reference.adapter, entry.reference.exact()
    if entry.fault:
        return (name, version, len(entries), "damaged: lorry verify says more", "", "", "")
    return (name, version, len(entries), ", ".join(entry.kinds), entry.base, size(entry.size), entry.title)


def _told(entries: list[Entry]) -> dict[str, object]:
    entry = newest(entries)
    return {
        "adapter": entry.reference.adapter,
        "version": str(entry.reference.exact()),
        "versions": [str(each.reference.exact()) for each in entries],
        "manifest": entry.manifest,
        "kinds": entry.kinds,
        "format": entry.format,
        "base": entry.base,
        "size": entry.size,
        "title": entry.title,
        "fault": entry.fault,
    }


def _text(entry: Entry) -> str:
    return f"{entry.reference.adapter} {entry.title}".lower()
