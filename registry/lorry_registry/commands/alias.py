"""lorry alias: the movable names of versions."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json, table
from lorry_registry.commands import arguments


@click.group("alias")
def command() -> None:
    """Move, list or forget the names that stand for versions."""


@command.command("set")
@click.argument("reference", metavar="NS/NAME@ALIAS")
@click.argument("version")
@options.as_json
def set_alias(reference: str, version: str, as_json: bool) -> None:
    """Point ALIAS at a version that is published; an alias that exists is moved.

    "latest" is the highest stable version, moves by itself, and is not set by hand.
    """
    from lorry_registry import Registry

    moved = Registry().set_alias(reference, version)
    if as_json:
        echo_json({"alias": reference, "version": version, "moved": moved})
    else:
        echo(f"{reference} {'is now' if moved else 'was already'} {version}")


@command.command("rm")
@click.argument("reference", metavar="NS/NAME@ALIAS")
@options.as_json
def drop_alias(reference: str, as_json: bool) -> None:
    """Forget ALIAS; the version that it stands for stays, and the adapter's log tells which that was."""
    from lorry_registry import Registry

    before = Registry().drop_alias(reference)
    if as_json:
        echo_json({"alias": reference, "before": str(before)})
    else:
        echo(f"{reference} is gone; it was {before}")


@command.command("ls")
@arguments.adapter
@options.as_json
def list_aliases(adapter: str, as_json: bool) -> None:
    """List the aliases of an adapter, and what each stands for."""
    from lorry_registry import Registry

    registry = Registry()
    found = registry.aliases(adapter)
    if as_json:
        echo_json({alias: str(version) for alias, version in found.items()})
        return
    notes = {version: registry.note(f"{adapter}@{version}") for version in found.values()}
    rows = [(alias, f"{version}{arguments.mark(notes[version])}") for alias, version in found.items()]
    table("", ("alias", "version"), rows)
