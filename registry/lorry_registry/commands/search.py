"""lorry search: find adapters by words, base and kind."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry_registry.commands.ls import tell


@click.command("search")
@click.argument("words", metavar="[WORD...]", nargs=-1)
@click.option("--base", default="", metavar="ID", help="Only for this base, such as sd1 or flux1.")
@click.option("--kind", default="", help="Only those with layers or tokens of this kind, such as lora.")
@options.as_json
def command(words: tuple[str, ...], base: str, kind: str, as_json: bool) -> None:
    """List the adapters that every WORD stands somewhere in.

    Looked at are name, title, tags, trigger words, learned tokens and, last, the description; upper and lower case
    are alike, and a part of a word will do.
    """
    from lorry_registry import Registry
    from lorry_registry.index import Asked, list_adapters

    registry = Registry()
    found = list_adapters(registry.store, Asked(words, base, kind))
    tell(found, f"nothing in the registry at {registry.home} fits; lorry ls lists all of it", as_json=as_json)
