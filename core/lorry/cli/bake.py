"""lorry bake: add adapters to a base model's weights."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json


@click.command("bake")
@click.argument("base")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER[:STRENGTH]...")
@options.output
@options.partial
@options.force
@options.as_json
def command(
    base: str,
    adapters: tuple[str, ...],
    output: str,
    partial: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write BASE with adapters added to its weights as a new folder at OUTPUT.

    Tensors no adapter touches are copied bit for bit; learned tokens join the tokenizer and the text
    encoder's embedding, so that the result needs no adapter any more.
    """
    from lorry.ops.bake import bake
    from lorry.ops.base import open_base
    from lorry.ops.read import open_adapter
    from lorry.ops.write_base import write_base

    opened = open_base(base)
    pairs = [(open_adapter(path, base=opened), strength) for path, strength in map(options.with_strength, adapters)]
    baked = bake(opened, pairs, partial=partial)
    tokens = [token for adapter, _ in pairs for token in adapter.tokens.values()]
    write_base(baked, output, tokens=tokens, force=force)
    if as_json:
        echo_json(
            {"output": output, "tensors": len(baked), "changed": len(baked.changes), "tokens": [t.text for t in tokens]}
        )
    else:
        added = f", {count(len(tokens), 'token')} added" if tokens else ""
        echo(f"{output}: {len(baked.changes)} of {count(len(baked), 'tensor')} changed{added}")
