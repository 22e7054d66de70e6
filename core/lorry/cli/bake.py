"""lorry bake: add adapters to a base model's weights, and take them out again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import bytes_progress, count, echo, echo_json

if TYPE_CHECKING:
    from lorry.ops.baking.bake import Baked
    from lorry.ops.bases.convert import Rewritten


@click.command("bake")
@click.argument("base")
@click.argument("adapters", nargs=-1, metavar="ADAPTER[:STRENGTH]...")
@click.option(
    "-o", "--output", type=click.Path(), help="Where to write; with --undo --force, BASE itself if not given."
)
@click.option("--to", "layout", metavar="LAYOUT", help="Write another layout, as lorry convert-base does.")
@options.like
@click.option("--lossy", is_flag=True, help="Leave out what the layout has no place for; the result says what.")
@options.dtype
@options.device
@click.option("--keep-originals", is_flag=True, help="Keep what is changed in OUTPUT.originals, for --undo.")
@click.option("--undo", is_flag=True, help="Write what BASE, a result of lorry bake, was made from.")
@click.option("--base", "made_from", metavar="BASE", help="Where that is now, for --undo: a path, or a name.")
@options.partial
@options.recipe
@options.force
@options.as_json
def command(
    base: str,
    adapters: tuple[str, ...],
    output: str | None,
    layout: str | None,
    like: str | None,
    lossy: bool,
    dtype: str | None,
    device: str,
    keep_originals: bool,
    undo: bool,
    made_from: str | None,
    partial: bool,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write BASE with adapters added to its weights at OUTPUT: a folder, or a single file, as BASE is one.

    Tensors no adapter touches are copied bit for bit; learned tokens join the tokenizer and the text
    encoder's embedding, so that the result needs no adapter any more. A folder that is interrupted goes on
    where it was when the same command is given again.

    With --undo, BASE is a result: what it was made from is written, byte for byte, from the originals or from
    the base that its header tells of.
    """
    if undo:
        if recipe_file:
            raise click.UsageError("--recipe tells how something was baked; --undo bakes nothing.")
        if adapters:
            raise click.UsageError("--undo takes out all that was baked; leave the adapters away.")
        _undo(base, output or base, made_from, force=force, as_json=as_json)
        return
    if not adapters:
        raise click.UsageError("Missing argument 'ADAPTER[:STRENGTH]...'.")
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if made_from is not None:
        raise click.UsageError("--base is for --undo.")
    # Two threads share the work: more within each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from lorry.ops.baking.bake import bake
    from lorry.ops.baking.write import write_base
    from lorry.ops.bases.base import open_base
    from lorry.ops.disk.output import check_outputs
    from lorry.ops.headers.recipe import keep_recipe
    from lorry.ops.reading.read import open_adapter

    check_outputs({"--output": output, "--recipe": recipe_file}, force=force)
    opened = open_base(base)
    pairs = [(open_adapter(path, base=opened), strength) for path, strength in map(options.with_strength, adapters)]
    baked = bake(opened, pairs, dtype=dtype, device=device, partial=partial)
    with bytes_progress("baking"):
        done = write_base(baked, output, layout=layout, like=like, originals=keep_originals, lossy=lossy, force=force)
    if recipe_file:
        names = [options.with_strength(each)[0] for each in adapters]
        keep_recipe(done.recipe(), done.path, Path(recipe_file), inputs=names, base=base, like=like, force=force)
    _tell(baked, done, as_json=as_json)


def _tell(baked: Baked, done: Rewritten, *, as_json: bool) -> None:
    tokens = [token.text for token in baked.tokens]
    if as_json:
        echo_json(
            {
                "output": str(done.path),
                "layout": done.layout,
                "dtype": baked.dtype,
                "tensors": len(baked),
                "changed": len(baked.changes),
                "tokens": tokens,
                "lost": dict(done.lost),
                "unused": list(done.unused),
            }
        )
        return
    added = f", {count(len(tokens), 'token')} added" if tokens else ""
    echo(f"{done.path}: {len(baked.changes)} of {count(len(baked), 'tensor')} changed{added}")
    for name, why in done.lost.items():
        echo(f"left out: {name}: {why}")
    if done.unused:
        echo(f"left out: {count(len(done.unused), 'constant')} that drawing does not need")


def _undo(baked: str, output: str, base: str | None, *, force: bool, as_json: bool) -> None:
    from lorry.ops.baking.undo import undo_bake

    done = undo_bake(baked, output, base=base, force=force)
    if as_json:
        echo_json(
            {
                "output": str(done.path),
                "files": done.files,
                "from_originals": done.from_originals,
                "from_base": done.from_base,
                "verified": True,
            }
        )
        return
    sources = {"the originals": done.from_originals, "the base": done.from_base}
    told = " and ".join(f"{number} from {source}" for source, number in sources.items() if number)
    echo(f"{done.path}: {count(done.files, 'file')} as before, every digest verified ({told or 'none was changed'})")
