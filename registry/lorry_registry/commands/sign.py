"""lorry sign: stand for a version with a key."""

from __future__ import annotations

import os

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments


@click.command("sign")
@arguments.reference
@click.option("--key", metavar="KEY.pem", required=True, type=click.Path(dir_okay=False), help="A private key in PEM.")
@options.as_json
def command(reference: str, key: str, as_json: bool) -> None:
    """Sign a version: its manifest, and so every byte of it. No network is asked.

    The signature is OpenSSF's model signing and travels with the version; lorry verify --signature asks for it. KEY.pem
    is a key of an elliptic curve (P-256, P-384, P-521); LORRY_KEY_PASSWORD opens one that is encrypted.
    """
    from lorry_registry import Registry

    found = Registry().sign(reference, key, password=os.environ.get("LORRY_KEY_PASSWORD"))
    if as_json:
        echo_json({"reference": str(found.reference), "manifest": found.digest})
    else:
        echo(f"{found.reference} is signed: manifest sha256:{found.digest}")
