"""lorry deprecate: warn whoever uses a version."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments


@click.command("deprecate")
@arguments.exact
@arguments.reason
@arguments.replaced_by
@click.option("--undo", is_flag=True, help="Take it back.")
@arguments.at
@options.as_json
def command(reference: str, reason: str | None, replaced_by: str | None, undo: bool, at: str, as_json: bool) -> None:
    """Warn whoever uses a version, by whatever name; it is found as before.

    lorry push and lorry clone carry that along.
    """
    from lorry_registry import Registry

    registry = Registry()
    if undo:
        changed = registry.undeprecate(reference, at=at)
    else:
        changed = registry.deprecate(reference, reason, replaced_by=replaced_by, at=at)
    if as_json:
        echo_json({"reference": reference, "deprecated": not undo, "changed": changed, "at": at or None})
    else:
        state = "no longer deprecated" if undo else "deprecated"
        echo(f"{reference} is {state}{arguments.there(at)}{'' if changed else ', as before'}")
