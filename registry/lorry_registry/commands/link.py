"""lorry link: put versions where a tool finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, echo_json
from lorry.errors import InvalidArgument
from lorry_registry.commands import arguments

if TYPE_CHECKING:
    from lorry_registry.linking.note import Link


@click.command("link")
@click.argument("references", metavar="NS/NAME[@VERSION]...", nargs=-1, required=True)
@arguments.tools
@click.option("--copy", is_flag=True, help="Never put a hard link there: it may be written to.")
@click.option("--dry-run", is_flag=True, help="Say what would be put there, and put nothing.")
@options.as_json
def command(references: tuple[str, ...], copy: bool, dry_run: bool, as_json: bool, **tools: str | None) -> None:
    """Put versions in the folders in which a tool looks for adapters and learned tokens, with their trigger words.

    DIR is the folder that the tool is installed in. A file is a clone of the registry's own, a hard link or a copy,
    whichever takes least. A hard link is the registry's own file by another name: it is read-only, and whatever writes
    to it all the same (as root, say) damages the version. --copy puts there what may be written to. What the tool does
    not load as it is, is converted to a dialect that it does. Another version of the same adapter takes the place of
    the one before; files that lorry did not put there are left alone. lorry unlink takes it all back.
    """
    from lorry_registry import Registry

    tool, folder = chosen(tools)
    tell(Registry().link(references, tool, folder, copy=copy, dry_run=dry_run), folder, as_json=as_json)


def chosen(tools: Mapping[str, str | None]) -> tuple[str, str]:
    """Return the tool and its folder; raise InvalidArgument unless it is one."""
    given = [(name, folder) for name, folder in tools.items() if folder]
    if len(given) != 1:
        raise InvalidArgument(f"give the folder of one tool: {' DIR, or '.join(f'--{name}' for name in tools)} DIR")
    return given[0]


def tell(links: Sequence[Link], folder: str, *, as_json: bool) -> None:
    """Print what there is, or was."""
    if as_json:
        echo_json({"folder": folder, "files": [
            {"path": each.path, "reference": each.reference, "sha256": each.sha256, "how": each.how, "new": each.new}
            for each in links]})  # fmt: skip
    else:
        columns(("file", "of", "how"), [(each.path, each.reference, each.how) for each in links])
