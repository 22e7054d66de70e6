"""lorry pull: copy a version's files out of the registry."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json, note
from lorry_registry.commands import arguments


@click.command("pull")
@arguments.reference
@click.option("--to", "folder", required=True, metavar="DIR", type=click.Path(), help="Folder to put them in.")
@click.option("--force", is_flag=True, help="Replace files of these names that are there.")
@options.as_json
def command(reference: str, folder: str, force: bool, as_json: bool) -> None:
    """Copy the files of a version into DIR, which is made if missing; every byte is checked on its way.

    Without @VERSION it is the latest stable one. A version is 1.2.0, a range (1.2, ^1.2), an alias, or
    sha256: and the first digits of its manifest.
    """
    from lorry_registry import Registry

    registry = Registry()
    found = registry.resolve(reference)
    paths = registry.pull(str(found.reference), folder, force=force)
    if as_json:
        echo_json({"reference": str(found.reference), "manifest": found.digest, "files": [str(path) for path in paths]})
        return
    note(f"pulled {found.reference}, every byte checked")
    for path in paths:
        echo(str(path))
