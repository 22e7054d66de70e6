"""lorry yank: keep a version from being found but by its exact number."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments


@click.command("yank")
@arguments.exact
@arguments.reason
@arguments.replaced_by
@arguments.at
@options.as_json
def command(reference: str, reason: str | None, replaced_by: str | None, at: str, as_json: bool) -> None:
    """Let no range, alias or bare name find a version any more; nothing of it is deleted.

    Its exact number and its digest still find it, with a warning, so that what was made from it can be made again.
    "latest" moves to the highest version that is left. lorry push and lorry clone carry it along, and lorry unyank
    takes it back, here or in one place.
    """
    from lorry_registry import Registry

    changed = Registry().yank(reference, reason, replaced_by=replaced_by, at=at)
    if as_json:
        echo_json({"reference": reference, "yanked": True, "changed": changed, "at": at or None})
    else:
        echo(f"{reference} {'is yanked now' if changed else 'was yanked already'}{arguments.there(at)}")
