"""Options and output that commands share which cut ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli.options import Decorator
from lorry.cli.output import columns, echo, note

if TYPE_CHECKING:
    from lorry.ops.ranks.report import RankReport

_SHOWN = 12
"""Layers in the table on the terminal; the report has all."""

rank: Decorator = click.option("--rank", type=click.IntRange(1), help="Of every layer; 32 if nothing else is asked.")
energy: Decorator = click.option(
    "--energy", type=float, metavar="SHARE", help="Keep this share of each layer's energy, as in 0.9."
)
error: Decorator = click.option(
    "--error", type=float, metavar="E", help="Stay below this relative error in each layer, as in 0.1."
)
size: Decorator = click.option(
    "--size", metavar="BYTES", help="Spread this size over the layers, where it keeps most: 50MB."
)
report_file: Decorator = click.option(
    "--report", "report_file", type=click.Path(), help="Write what became of every layer into this JSON file."
)
plot_file: Decorator = click.option(
    "--plot", "plot_file", type=click.Path(), help="Draw energy by block and singular values into this PNG."
)


def tell(report: RankReport) -> None:
    """Print the layers that lose most."""
    rows = list(report.rows())
    if rows:
        columns(("error", "energy held", "rank", "form", "layer"), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        echo(f"and {len(rows) - _SHOWN} layers that lose less")
    by_reason: dict[str, list[str]] = {}
    for name, reason in report.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        note(f"left out: {names[0]}{more}: {reason}")


def check(output: str, report_file: str | None, plot_file: str | None, recipe_file: str | None, *, force: bool) -> None:
    """Raise at once what writing the output, and report, plot and recipe beside it, would raise."""
    from lorry.ops.disk.output import check_outputs

    named = {"--output": output, "--report": report_file, "--plot": plot_file, "--recipe": recipe_file}
    check_outputs(named, force=force)
    if plot_file:
        from lorry.ops.ranks.plot import check_plot

        check_plot(Path(plot_file))


def keep(report: RankReport, report_file: str | None, plot_file: str | None, *, force: bool) -> None:
    """Write the report and the plot where they are asked for."""
    if report_file:
        import json

        from lorry.ops.disk.output import replacing

        with replacing(Path(report_file), force=force) as draft:
            draft.write_text(json.dumps(report.told(), indent=1) + "\n", encoding="utf-8")
    if plot_file:
        from lorry.ops.ranks.plot import draw_ranks

        draw_ranks(report, plot_file, force=force)
