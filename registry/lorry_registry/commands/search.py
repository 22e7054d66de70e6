"""lorry search: find adapters by words, base and kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import echo, note
from lorry.errors import InvalidFile, UnknownName, VerificationFailed
from lorry.plugin.host import host
from lorry_registry.commands.ls import tell

if TYPE_CHECKING:
    from lorry_registry.home.index import Entry
    from lorry_registry.home.store import LocalStore
    from lorry_registry.references.reference import Reference


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
    from lorry_registry.home.index import Asked, list_adapters

    registry = Registry()
    found = list_adapters(registry.store, Asked(words, base, kind))
    if base and not found:
        _check_base(registry.ls(), base)
    tell(found, f"nothing in the registry at {registry.home} fits; lorry ls lists all of it", as_json=as_json)
    if previews and sys.stdout.isatty() and not as_json:
        _draw(registry.store, [each.newest.reference for each in found])
    elif previews:
        note("pictures are drawn in terminals only")


def _check_base(entries: Iterable[Entry], base: str) -> None:
    """Raise UnknownName where no base that is known here has an id that begins so."""
    known = {*host().base_models(), *(entry.base.partition("@")[0] for entry in entries if entry.base)}
    if not any(name.startswith(base.lower().partition("@")[0]) for name in known):
        raise UnknownName("base model", base, known)


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
