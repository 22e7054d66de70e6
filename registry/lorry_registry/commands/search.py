"""lorry search: find adapters by words, base and kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import echo, note
from lorry.errors import InvalidFile, VerificationFailed
from lorry_registry.commands.ls import tell

if TYPE_CHECKING:
    from lorry_registry.reference import Reference
    from lorry_registry.store import LocalStore


@click.command("search")
@click.argument("words", metavar="[WORD...]", nargs=-1)
@click.option("--base", default="", metavar="ID", help="Only for this base, such as sd1 or flux1.")
@click.option("--kind", default="", help="Only those with layers or tokens of this kind, such as lora.")
@click.option("--previews", is_flag=True, help="Draw the first picture of each, in a terminal.")
@options.as_json
def command(words: tuple[str, ...], base: str, kind: str, previews: bool, as_json: bool) -> None:
    """List the adapters that every WORD stands somewhere in.

    Looked at are name, title, tags, trigger words, learned tokens and, last, the description; upper and lower case
    are alike, and a part of a word will do.
    """
    from lorry_registry import Registry
    from lorry_registry.index import Asked, list_adapters

    registry = Registry()
    found = list_adapters(registry.store, Asked(words, base, kind))
    tell(found, f"nothing in the registry at {registry.home} fits; lorry ls lists all of it", as_json=as_json)
    if previews and sys.stdout.isatty() and not as_json:
        _draw(registry.store, [each.newest.reference for each in found])
    elif previews:
        note("pictures are drawn in terminals only")


def _draw(store: LocalStore, references: Iterable[Reference]) -> None:
    from lorry_registry.previews import draw, preview

    for reference in references:
        try:
            picture = preview(store, reference)
            if picture:
                draw(picture)
                echo(str(reference))
        except (InvalidFile, VerificationFailed) as error:
            note(f"{reference}: {error}")
