"""lorry extract: make an adapter of what a fine-tune changed."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options, ranks
from lorry.cli.output import echo, echo_json, note, progress


@click.command("extract")
@click.argument("tuned")
@click.argument("base")
@options.output
@click.option(
    "--to", "target", metavar="FORMAT", help="Format of the adapter; the usual one of the base's family if not given."
)
@ranks.rank
@ranks.energy
@ranks.error
@ranks.size
@click.option(
    "--conv",
    type=click.Choice(["linear", "1x1", "tucker", "full"]),
    default="linear",
    show_default=True,
    help="Convolutions: as linear layers, none but those of one point, in Tucker form, or in full.",
)
@click.option("--full", is_flag=True, help="Hold every difference in full, none at low rank.")
@click.option("--only-low-rank", is_flag=True, help="Leave out biases, norms and new words, which have no rank.")
@options.device
@options.dtype
@ranks.report_file
@ranks.plot_file
@options.recipe
@options.force
@options.as_json
def command(
    tuned: str,
    base: str,
    output: str,
    target: str | None,
    rank: int | None,
    energy: float | None,
    error: float | None,
    size: str | None,
    conv: str,
    full: bool,
    only_low_rank: bool,
    device: str,
    dtype: str | None,
    report_file: str | None,
    plot_file: str | None,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make an adapter of the difference between the model TUNED and the model BASE it was tuned from.

    Both may be folders or single files, in the same layout or in different ones. Numbers are stored in the dtype of
    TUNED unless --dtype says otherwise. Finished layers are kept in a folder beside OUTPUT until it is written, so
    that an extraction that was interrupted goes on where it stopped.
    """
    from lorry.ops.bases.base import open_base
    from lorry.ops.extracting.extract import Extraction
    from lorry.ops.extracting.pairs import Forms
    from lorry.ops.headers.recipe import header, keep_recipe
    from lorry.ops.ranks.aim import rank_aim
    from lorry.ops.writing.write import check_name, chosen, save
    from lorry.plugin.host import host

    path = Path(output)
    aim = rank_aim(rank=rank, energy=energy, error=error, size=size)
    forms = Forms(convolutions=conv, full=full, others=not only_low_rank)
    opened = open_base(base)
    model = host().get("base_models", opened.id)
    wanted = target or model.dialect
    if not wanted:
        raise click.UsageError(f"no format is the usual one for {model.title}; say which with --to")
    check_name(path, chosen(wanted, host(), path)[1], host())
    ranks.check(output, report_file, plot_file, recipe_file, force=force)
    work = Extraction(
        tuned, opened, aim, forms, dtype=dtype, device=device, folder=path.parent / f".{path.name}.extraction"
    )
    if work.done:
        note(f"{work.done} of {work.total} layers are finished already")
    try:
        for _ in progress(work.run(), work.total, "extracting"):
            pass
    except (KeyboardInterrupt, OSError):
        note(f"{work.done} of {work.total} layers are finished and kept; the same command goes on from there")
        raise
    adapter, report = work.finish()
    told = work.recipe(wanted)
    saved = save(adapter, path, wanted, force=force, metadata=header(told))
    work.clear()
    if recipe_file:
        keep_recipe(told, path, Path(recipe_file), tuned=tuned, base=base, force=force)
    ranks.keep(report, report_file, plot_file, force=force)
    if as_json:
        echo_json(
            {
                "output": str(path),
                "format": f"{saved.dialect}+{saved.container}",
                "tensors_written": saved.tensors,
                "tokens": sorted(adapter.tokens),
                **report.told(),
            }
        )
        return
    ranks.tell(report)
    words = f" and {len(adapter.tokens)} new word{'s' if len(adapter.tokens) > 1 else ''}" if adapter.tokens else ""
    echo(f"{path}: {len(report.layers)} differences{words}, {report.kept:.2%} of their energy held")
