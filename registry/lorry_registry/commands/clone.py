"""lorry clone: bring a version in from another place."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json


@click.command("clone")
@click.argument("address", metavar="PLACE[#NS/NAME[@VERSION]]")
@options.as_json
def command(address: str, as_json: bool) -> None:
    """Bring a version in from PLACE: file:///a/folder, s3://bucket/folder, hf://owner/name@1.0.0, and what plugins add.

    Every byte is checked against the manifest, and every file as lorry validate does, before any of it is in. What an
    interrupted clone has fetched is not fetched again.
    """
    from lorry_registry import Registry

    found = Registry().clone(address)
    if as_json:
        echo_json({"reference": str(found.reference), "manifest": found.digest, "new": found.new})
    else:
        echo(f"{found.reference} {'is here now' if found.new else 'was already here'}: manifest sha256:{found.digest}")
