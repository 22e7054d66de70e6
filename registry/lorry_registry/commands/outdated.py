"""lorry outdated: what could be newer, or should not be used any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, echo_json, note
from lorry_registry.commands.arguments import mark

if TYPE_CHECKING:
    from lorry_registry.upkeep.outdated import Outdated


@click.command("outdated")
@click.argument("place", metavar="[PLACE]", default="")
@click.option("--lock", "lock", metavar="FILE", type=click.Path(), help="Lock file; lorry.lock where there is one.")
@options.as_json
def command(place: str, lock: str | None, as_json: bool) -> None:
    """List the versions a lock file names that are no longer what their references find, the newest, or good to use.

    Without a lock file, those of the registry. They are held beside what the registry has, or with PLACE (as in lorry
    push) beside what is there. "fits" is what lorry lock would take now, "newest" the highest stable version.
    """
    from lorry_registry import Registry
    from lorry_registry.lock import NAME, Lock

    registry, path = Registry(), Path(lock or NAME)
    locked = Lock.read(path) if lock or path.exists() else None
    found = registry.outdated(locked, place)
    if as_json:
        echo_json([_told(each) for each in found])
    elif found:
        headings = ("adapter", "used", "fits", "newest", "note")
        columns(headings, [_row(each) for each in found])
    else:
        note(f"everything {f'in {path}' if locked else f'at {registry.home}'} is up to date")


def _row(found: Outdated) -> tuple[object, ...]:
    used = f"{found.used.version}{mark(found.note)}"
    return (found.used.asked, used, found.fitting or "none", found.newest or "none", found.note)


def _told(found: Outdated) -> dict[str, object]:
    return {
        "reference": str(found.used.asked),
        "used": str(found.used.version),
        "fits": str(found.fitting) if found.fitting else None,
        "newest": str(found.newest) if found.newest else None,
        "note": found.note.said,
    }
