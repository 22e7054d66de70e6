"""lorry ls: what the registry holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, echo_json, note
from lorry_registry.commands.arguments import mark, size

if TYPE_CHECKING:
    from lorry_registry.index import Entry


@click.command("ls")
@options.as_json
def command(as_json: bool) -> None:
    """List the adapters in the registry; lorry search finds some of them."""
    from lorry_registry import Registry

    registry = Registry()
    list_adapters(
        registry.ls(), f"nothing in the registry at {registry.home}; lorry publish adds to it", as_json=as_json
    )


def list_adapters(versions: Iterable[Entry], nothing: str, *, as_json: bool) -> None:
    """Print one line an adapter, from its versions in the order they come; `nothing` is said where there are none."""
    adapters: dict[str, list[Entry]] = {}
    for entry in versions:
        adapters.setdefault(entry.reference.adapter, []).append(entry)
    if as_json:
        echo_json([_told(entries) for entries in adapters.values()])
    elif not adapters:
        note(nothing)
    else:
        headings = ("adapter", "version", "versions", "kind", "base", "size", "title")
        columns(headings, [_row(entries) for entries in adapters.values()])


def _newest(entries: list[Entry]) -> Entry:
    """Return the highest stable version that is not yanked, or the highest where there is none."""
    stable = (entry for entry in reversed(entries) if entry.reference.exact().stable and entry.note.yanked is None)
    return next(stable, entries[-1])


def _row(entries: list[Entry]) -> tuple[object, ...]:
    entry, yanked = _newest(entries), sum(each.note.yanked is not None for each in entries)
    name, version = entry.reference.adapter, f"{entry.reference.exact()}{mark(entry.note)}"
    number = f"{len(entries)}{f' ({yanked} yanked)' if yanked else ''}"
    if entry.fault:
        return (name, version, number, "damaged: lorry fsck says more", "", "", "")
    return (name, version, number, ", ".join(entry.kinds), entry.base, size(entry.size), entry.title)


def _told(entries: list[Entry]) -> dict[str, object]:
    entry = _newest(entries)
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
        "note": entry.note.said,
        "yanked": [str(each.reference.exact()) for each in entries if each.note.yanked is not None],
        "deprecated": [str(each.reference.exact()) for each in entries if each.note.deprecated is not None],
    }
