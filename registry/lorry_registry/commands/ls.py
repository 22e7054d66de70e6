"""lorry ls: what the registry holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, echo_json, note
from lorry_registry.commands.arguments import mark, size

if TYPE_CHECKING:
    from lorry_registry.home.index import Listed


@click.command("ls")
@options.as_json
def command(as_json: bool) -> None:
    """List the adapters in the registry; lorry search finds some of them."""
    from lorry_registry import Registry
    from lorry_registry.home.index import list_adapters

    registry = Registry()
    found = list_adapters(registry.store)
    tell(found, f"nothing in the registry at {registry.home}; lorry publish adds to it", as_json=as_json)


def tell(found: Sequence[Listed], nothing: str, *, as_json: bool) -> None:
    """Print one line an adapter; `nothing` is said where there are none."""
    if as_json:
        echo_json([_told(each) for each in found])
    elif not found:
        note(nothing)
    else:
        columns(("adapter", "version", "versions", "kind", "base", "size", "title"), map(_row, found))


def _row(found: Listed) -> tuple[object, ...]:
    entry, yanked = found.newest, len(_split(found.yanked_versions))
    name, version = entry.reference.adapter, f"{entry.reference.selector}{mark(entry.note)}"
    number = f"{found.all_versions.count(',') + 1}{f' ({yanked} yanked)' if yanked else ''}"
    if entry.fault:
        return (name, version, number, "damaged: lorry fsck says more", "", "", "")
    return (name, version, number, ", ".join(entry.kinds), entry.base, size(entry.size), entry.title)


def _told(found: Listed) -> dict[str, object]:
    entry = found.newest
    return {
        "adapter": entry.reference.adapter,
        "version": str(entry.reference.selector),
        "versions": _split(found.all_versions),
        "manifest": entry.manifest,
        "kinds": entry.kinds,
        "format": entry.format,
        "base": entry.base,
        "size": entry.size,
        "title": entry.title,
        "fault": entry.fault,
        "note": entry.note.said,
        "yanked": _split(found.yanked_versions),
        "deprecated": _split(found.deprecated_versions),
    }


def _split(versions: str) -> list[str]:
    from lorry_registry.references.semver import Version

    return [str(each) for each in sorted(map(Version.parse, filter(None, versions.split(","))))]
