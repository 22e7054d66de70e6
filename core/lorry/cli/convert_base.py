"""lorry convert-base: write a base model in another layout."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import bytes_progress, count, echo, echo_json, note


@click.command("convert-base")
@click.argument("base")
@click.option(
    "--to",
    "layout",
    required=True,
    metavar="LAYOUT",
    help="diffusers (a folder), ldm, sgm, bfl or comfy (a single file), as the base has it.",
)
@options.output
@options.like
@click.option(
    "--shard-size",
    metavar="SIZE",
    help="Divide larger components into shards of at most this, as in 5GB, for --to diffusers.",
)
@click.option("--verify", is_flag=True, help="Read the result back and compare every byte.")
@click.option("--lossy", is_flag=True, help="Leave out what the layout has no place for; the result says what.")
@options.recipe
@options.force
@options.as_json
def command(
    base: str,
    layout: str,
    output: str,
    like: str | None,
    shard_size: str | None,
    verify: bool,
    lossy: bool,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the base model BASE in another layout at OUTPUT.

    BASE is a folder, a checkpoint in a single file, or a name (lorry base ls). Only names change: every tensor
    keeps its dtype and its bytes.
    """
    from lorry.ops.bases.base import open_base
    from lorry.ops.bases.convert import convert_base
    from lorry.ops.disk.output import check_outputs
    from lorry.ops.headers.recipe import keep_recipe
    from lorry.plugin.host import host

    check_outputs({"--output": output, "--recipe": recipe_file}, force=force)
    opened = open_base(base)
    with bytes_progress("writing"):
        done = convert_base(
            opened, output, layout, like=like, shard_size=shard_size, verify=verify, lossy=lossy, force=force
        )
    if recipe_file:
        keep_recipe(done.recipe(), done.path, Path(recipe_file), base=base, like=like, force=force)
    title = host().base_models()[opened.id].title
    if as_json:
        echo_json(
            {
                "output": str(done.path),
                "base": opened.id,
                "from": opened.layout,
                "to": done.layout,
                "tensors_written": done.tensors,
                "lost": dict(done.lost),
                "unused": list(done.unused),
                "configured": done.configured,
                "verified": verify,
            }
        )
        return
    echo(f"{done.path}: {title}, {opened.layout} to {done.layout}, {count(done.tensors, 'tensor')} written")
    for name, why in list(done.lost.items())[:10]:
        echo(f"left out: {name}: {why}")
    if len(done.lost) > 10:  # noqa: PLR2004  ten are enough to see the pattern; --json has all
        echo(f"left out: {len(done.lost) - 10} more")
    if done.unused:
        echo(f"left out: {len(done.unused)} constants that drawing does not need")
    if not done.configured:
        note("the folder has weights alone, which no tool loads; --like BASE brings the configurations along")
    if verify:
        echo("verified: every tensor has the bytes it had")
