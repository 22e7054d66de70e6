"""lorry merge: make one adapter of several."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json
from lorry.ir.adapter import Adapter


@click.command("merge")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER[:WEIGHT]...")
@options.output
@click.option("--method", default="sum", show_default=True, help="How: sum is exactly Σ wᵢ·ΔWᵢ.")
@click.option("--to", "target", metavar="FORMAT", help="Format of the result; that of the first adapter if not given.")
@options.dtype
@options.partial
@options.force
@options.as_json
def command(
    adapters: tuple[str, ...],
    output: str,
    method: str,
    target: str | None,
    dtype: str | None,
    partial: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make one adapter of several, each with a weight: lorry merge a.safetensors:0.7 b.safetensors -o c.safetensors.

    Ranks add up under sum; where a weight cannot be folded into the stored dtype without rounding, the result
    is float32, and --dtype rounds it.
    """
    from lorry.ops.merge import merge
    from lorry.ops.read import open_adapter
    from lorry.ops.recipe import recipe
    from lorry.ops.write import save

    pairs = [(open_adapter(path), weight) for path, weight in map(options.with_strength, adapters)]
    merged = merge(pairs, method, partial=partial)
    wanted = target or _dialect(pairs[0][0])
    told = recipe("merge", pairs, {"method": method, "format": wanted, "dtype": dtype})
    saved = save(merged, output, wanted, dtype=dtype, force=force, metadata=told)
    if as_json:
        echo_json(
            {
                "output": str(saved.path),
                "format": f"{saved.dialect}+{saved.container}",
                "layers": len(merged.layers),
                "tokens": sorted(merged.tokens),
                "tensors_written": saved.tensors,
            }
        )
    else:
        made = f"{count(len(merged.layers), 'module')}, {count(saved.tensors, 'tensor')}"
        echo(f"{saved.path}: {count(len(pairs), 'adapter')} merged by {method}, {made}")
        if saved.renamed:
            echo(saved.renamed)


def _dialect(adapter: Adapter) -> str:
    """Return the dialect of an adapter's layers; its learned tokens may have come in a file of another."""
    return max(adapter.origin, key=lambda frame: len(frame.layers)).dialect
