"""lorry push: put a version in another place."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments


@click.command("push")
@arguments.reference
@click.argument("place", metavar="PLACE")
@click.option("--alias", "aliases", metavar="ALIAS", multiple=True, help="Point this alias at the version there too.")
@click.option("-O", "--option", "said", metavar="NAME=VALUE", multiple=True, help="What this kind of place asks for.")
@options.as_json
def command(reference: str, place: str, aliases: tuple[str, ...], said: tuple[str, ...], as_json: bool) -> None:
    """Put a published version in PLACE: file:///a/folder, s3://bucket/folder, hf://owner/name, and what plugins add.

    What lorry validate rejects is not sent, and what is there already is not sent again. A version there never
    changes: one with other content is refused, and of many who push at once exactly one is first.
    """
    from lorry_registry import Registry

    registry = Registry()
    found = registry.resolve(reference)
    new = registry.push(str(found.reference), place, aliases=aliases, options=_options(said))
    if as_json:
        echo_json({"reference": str(found.reference), "manifest": found.digest, "place": place, "new": new})
    else:
        echo(f"{found.reference} {'is now' if new else 'was already'} at {place}#{found.reference}")


def _options(said: tuple[str, ...]) -> dict[str, str]:
    told: dict[str, str] = {}
    for text in said:
        name, mark, value = text.partition("=")
        if not mark or name in told:
            raise click.UsageError(f"-O {text}: {'given twice' if mark else 'write NAME=VALUE'}")
        told[name] = value
    return told
