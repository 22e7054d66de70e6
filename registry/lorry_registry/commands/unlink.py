"""lorry unlink: take back what was put in a tool's folder."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.errors import InvalidArgument
from lorry_registry.commands import arguments
from lorry_registry.commands.link import chosen, tell


@click.command("unlink")
@click.argument("references", metavar="NS/NAME[@VERSION]...", nargs=-1)
@arguments.tools
@click.option("--all", "everything", is_flag=True, help="Take back everything that lorry put there.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken back, and take nothing.")
@options.as_json
def command(references: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool, **tools: str | None) -> None:
    """Take back what lorry link put in a tool's folder; a file that was changed since is left and told."""
    from lorry_registry import Registry

    if bool(references) == everything:
        raise InvalidArgument("name what to take back, or say --all")
    _, folder = chosen(tools)
    tell(Registry().unlink(references, folder, dry_run=dry_run), folder, as_json=as_json)
