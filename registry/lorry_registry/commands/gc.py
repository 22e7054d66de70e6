"""lorry gc: delete what no version holds."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import columns, count, echo, echo_json
from lorry_registry.commands import arguments


@click.command("gc")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Leave what was touched within this time: somebody may be at work on it.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@options.as_json
def command(grace: float, dry_run: bool, as_json: bool) -> None:
    """Delete blobs, drafts and views that no version holds: what crashes and interrupted commands left.

    No version is ever deleted, yanked ones neither.
    """
    from lorry_registry import Registry

    found = Registry().gc(grace=60 * grace, dry_run=dry_run)
    freed = sum(each.size for each in found)
    if as_json:
        listed = [{"what": each.what, "path": str(each.path), "size": each.size} for each in found]
        echo_json({"deleted": [] if dry_run else listed, "garbage": listed, "bytes": freed, "dry_run": dry_run})
        return
    if dry_run and found:
        columns(("what", "size", "path"), [(each.what, arguments.size(each.size), each.path) for each in found])
    echo(f"{'would free' if dry_run else 'freed'} {arguments.size(freed)} in {count(len(found), 'place')}")
