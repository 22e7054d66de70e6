"""lorry unyank: let a yanked version be found again."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments


@click.command("unyank")
@arguments.exact
@arguments.at
@options.as_json
def command(reference: str, at: str, as_json: bool) -> None:
    """Let ranges, aliases and the bare name find a version again."""
    from lorry_registry import Registry

    changed = Registry().unyank(reference, at=at)
    if as_json:
        echo_json({"reference": reference, "yanked": False, "changed": changed, "at": at or None})
    else:
        echo(f"{reference} {'is no longer yanked' if changed else 'was not yanked'}{arguments.there(at)}")
