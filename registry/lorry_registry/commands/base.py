"""lorry base: names for base models on this machine."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json, table


@click.group("base")
def command() -> None:
    """Give base models on this machine a name."""


@command.command("add")
@click.argument("name")
@click.argument("path", type=click.Path())
@click.option("--force", is_flag=True, help="Let a name that exists stand for another path.")
@options.as_json
def add(name: str, path: str, force: bool, as_json: bool) -> None:
    """Let NAME stand for the base model at PATH, a folder or a file, which stays where it is."""
    from pathlib import Path

    from lorry.errors import Conflict
    from lorry.ops.bases.base import open_base
    from lorry_registry import Registry

    if owner := _owner(name):
        raise Conflict(f"{name} is a base of {owner}; choose another name")
    open_base(Path(path))  # what no base table fits would only be complained of when it is used
    registered = Registry().bases.add(name, Path(path), force=force)
    if as_json:
        echo_json({"name": name, "path": str(registered)})
    else:
        echo(f"{name} stands for {registered}")


@command.command("ls")
@options.as_json
def list_bases(as_json: bool) -> None:
    """List the base models that have a name, those that plugins bring included."""
    from lorry.plugin.host import host

    found = [
        {"name": name, "path": str(path), "store": store.name, "missing": not path.exists()}
        for store in host().stores().values()
        for name, path in store.bases().items()
    ]
    if as_json:
        echo_json(found)
        return
    rows = [(base["name"], base["store"], f"{base['path']}{' (missing)' if base['missing'] else ''}") for base in found]
    table("", ("base", "from", "path"), rows)


@command.command("rm")
@click.argument("name")
@options.as_json
def remove(name: str, as_json: bool) -> None:
    """Forget NAME; the base model itself is left alone."""
    from lorry.errors import Conflict
    from lorry_registry import Registry

    bases = Registry().bases
    if (owner := _owner(name)) and name not in bases.all():
        raise Conflict(f"{name} comes with {owner}, so it cannot be forgotten; lorry base add gave it no name")
    bases.remove(name)
    if as_json:
        echo_json({"removed": name})
    else:
        echo(f"{name} is forgotten; its files are where they were")


def _owner(name: str) -> str:
    """Return the title of the plugin's store that a base comes from, "" where none brings one of that name."""
    from lorry.plugin.host import host

    return next(
        (store.title for store in host().stores().values() if store.name != "local" and name in store.bases()), ""
    )
