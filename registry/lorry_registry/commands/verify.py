"""lorry verify: whether a version is still what was published."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json
from lorry_registry.commands import arguments


@click.command("verify")
@arguments.reference
@options.as_json
def command(reference: str, as_json: bool) -> None:
    """Read every byte of a version again; exit 8 and name the files where one is not as it was published."""
    from lorry_registry import Registry

    manifest = Registry().verify(reference)
    if as_json:
        files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in manifest.files]
        echo_json({"reference": str(manifest.reference), "manifest": manifest.digest(), "files": files})
        return
    held = f"{count(len(manifest.files), 'file')}, {arguments.size(sum(file.size for file in manifest.files))}"
    echo(f"{manifest.reference} is intact: its manifest and {held}")
