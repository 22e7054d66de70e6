"""lorry resize: change the ranks of an adapter."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options, ranks
from lorry.cli.output import count, echo, echo_json, progress


@click.command("resize")
@click.argument("adapter")
@options.output
@click.option("--to", "target", metavar="FORMAT", help="Format of the result; that of the adapter if not given.")
@ranks.rank
@ranks.energy
@ranks.error
@click.option("--ratio", type=float, metavar="N", help="Keep the singular values above the largest one / N.")
@ranks.size
@options.base
@options.device
@options.dtype
@options.partial
@ranks.report_file
@ranks.plot_file
@options.recipe
@options.force
@options.as_json
def command(
    adapter: str,
    output: str,
    target: str | None,
    rank: int | None,
    energy: float | None,
    error: float | None,
    ratio: float | None,
    size: str | None,
    base: str | None,
    device: str,
    dtype: str | None,
    partial: bool,
    report_file: str | None,
    plot_file: str | None,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write ADAPTER with lower ranks, each layer as near to what it was as its rank allows.

    Layers of kinds without factors (LoHa, LoKr, full differences …) become low-rank ones; those that change a weight
    by its own size (DoRA …) need --base for that. Biases, norms and learned tokens stay as they are.
    """
    from lorry.ops.bases.base import open_base
    from lorry.ops.headers.recipe import header, keep_recipe
    from lorry.ops.merging.merge import main_dialect
    from lorry.ops.ranks.aim import rank_aim
    from lorry.ops.ranks.resize import Resizing
    from lorry.ops.reading.read import open_adapter
    from lorry.ops.writing.write import check_name, chosen, save
    from lorry.plugin.host import host

    path = Path(output)
    aim = rank_aim(rank=rank, energy=energy, error=error, ratio=ratio, size=size)
    opened_base = open_base(base) if base else None
    opened = open_adapter(adapter, base=opened_base)
    wanted = target or main_dialect(opened)
    check_name(path, chosen(wanted, host(), path)[1], host())
    ranks.check(output, report_file, plot_file, recipe_file, force=force)
    work = Resizing(opened, aim, base=opened_base, dtype=dtype, device=device, partial=partial)
    for _ in progress(work.run(), work.total, "resizing"):
        pass
    made, report = work.finish()
    told = work.recipe(wanted)
    saved = save(made, path, wanted, force=force, metadata=header(told))
    if recipe_file:
        keep_recipe(told, path, Path(recipe_file), inputs=[adapter], base=base, force=force)
    ranks.keep(report, report_file, plot_file, force=force)
    if as_json:
        echo_json(
            {
                "output": str(path),
                "format": f"{saved.dialect}+{saved.container}",
                "tensors_written": saved.tensors,
                **report.told(),
            }
        )
        return
    ranks.tell(report)
    echo(f"{path}: {count(len(report.layers), 'layer')} resized, {report.kept:.2%} of their energy held")
