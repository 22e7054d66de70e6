"""lorry verify: whether a version is still what was published."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json
from lorry_registry.commands import arguments


@click.command("verify")
@arguments.reference
@click.option("--replay", is_flag=True, help="Make it again by its recipe too, and compare the tensors.")
@click.option("--remote", "place", metavar="PLACE", default="", help="Read the bytes there, and none here.")
@click.option("--signature", is_flag=True, help="Ask for a signature too, by the key that belongs to --key.")
@click.option(
    "--key", metavar="PUB.pem", type=click.Path(dir_okay=False), help="The public key of who must have signed."
)
@options.inputs
@options.find_in
@options.as_json
def command(
    reference: str,
    replay: bool,
    place: str,
    signature: bool,
    key: str | None,
    inputs: tuple[str, ...],
    find_in: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read every byte of a version again; exit 8 and name the files where one is not as it was published.

    With --replay it is made again from what it was made of, which is found by digest in the registry, in any folder
    named, or by the names given; exit 8 where other tensors come out. Nothing is changed.
    """
    from lorry_registry import Registry

    if (inputs or find_in) and not replay:
        raise click.UsageError("--input and --find-in say where a recipe finds what it needs: say --replay too.")
    if signature != bool(key):
        raise click.UsageError("--signature asks whether the version is signed by --key PUB.pem: say both.")
    if place and (replay or signature):
        raise click.UsageError("--remote reads a version elsewhere; --replay and --signature are of the one here.")
    registry = Registry()
    manifest = registry.verify(reference, at=place)
    compared = registry.replay(reference, inputs=options.named_paths(inputs), find_in=find_in) if replay else None
    if key:
        registry.check_signature(reference, key)
    if as_json:
        files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in manifest.files]
        told = {"reference": str(manifest.reference), "manifest": manifest.digest(), "files": files}
        signed = {"signed_by": key} if key else {}
        echo_json(told | signed | ({"replayed": compared.told()} if compared else {}))
        return
    held = f"{count(len(manifest.files), 'file')}, {arguments.size(sum(file.size for file in manifest.files))}"
    echo(f"{manifest.reference} is intact{f' at {place}' if place else ''}: its manifest and {held}")
    if key:
        echo(f"signed by the key of {key}")
    if compared:
        echo(f"made again by its recipe: {compared.in_words()}")
