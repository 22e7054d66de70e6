"""lorry convert: write an adapter in another format."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json


@click.command("convert")
@click.argument("path", nargs=-1, required=True)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="FORMAT",
    help="A dialect (kohya, diffusers, peft …), or DIALECT+CONTAINER.",
)
@options.output
@options.base
@click.option("--verify", is_flag=True, help="Read the new file back and prove that every ΔW is the same.")
@click.option("--lossy", is_flag=True, help="Leave out what the format cannot hold; the result says what.")
@options.dtype
@options.force
@options.as_json
def command(
    path: tuple[str, ...],
    target: str,
    output: str,
    base: str | None,
    verify: bool,
    lossy: bool,
    dtype: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the adapter at PATH in another format at OUTPUT.

    Numbers are kept bit for bit unless a fused module has to be joined or --dtype rounds them. Converting
    a converted file back gives the first file again, byte for byte, where only names change.
    """
    from lorry.ops.convert import convert
    from lorry.ops.read import open_adapter

    adapter = open_adapter(path[0] if len(path) == 1 else list(path), base=base)
    done = convert(adapter, output, target, verify=verify, dtype=dtype, lossy=lossy, force=force)
    saved, proof = done.saved, done.proof
    if as_json:
        echo_json(
            {
                "output": str(saved.path),
                "format": f"{saved.dialect}+{saved.container}",
                "keys_read": len(adapter.report.used),
                "tensors_written": saved.tensors,
                "lost": dict(saved.lost),
                "max_relative_error": proof.error if proof else None,
                "layers_compared": len(proof.layers) if proof else None,
            }
        )
        return
    keys = f"{len(adapter.report.used)} keys read, {saved.tensors} tensors written"
    echo(f"{saved.path}: {saved.dialect}+{saved.container}, {keys}")
    for what, why in saved.lost.items():
        echo(f"left out: {what}: {why}")
    if proof:
        compared = f"{len(proof.layers)} layers and {len(proof.tokens)} tokens"
        echo(f"verified: {compared}, largest relative error {proof.error:.2g}")
