"""lorry diff: compare adapters layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json, note, table

if TYPE_CHECKING:
    from lorry.ops.comparing.diff import Diff


@click.command("diff")
@click.argument("first")
@click.argument("second")
@click.argument("more", nargs=-1)
@options.base
@click.option(
    "--top",
    default=12,
    show_default=True,
    type=click.IntRange(0),
    help="How many layers to show, the most remarkable first.",
)
@click.option("--overlap", is_flag=True, help="Show how much they share of their inputs and outputs.")
@click.option("--plot", type=click.Path(dir_okay=False), metavar="PNG", help="Draw all layers as a heat map.")
@options.force
@options.as_json
def command(
    first: str,
    second: str,
    more: tuple[str, ...],
    base: str | None,
    top: int,
    overlap: bool,
    plot: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Compare what adapters do, layer by layer, whatever their formats.

    Of two: norms, relative error and cosine of ΔW. Of more, or with --overlap or --plot: where they meet, whether they
    add up or cancel out there, and how much they share of what they read and write.
    """
    from lorry.ops.bases.base import open_base
    from lorry.ops.comparing.diff import diff
    from lorry.ops.comparing.interference import interference
    from lorry.ops.comparing.plot import draw_interference
    from lorry.ops.reading.read import open_adapter

    opened = open_base(base) if base else None
    names = [first, second, *more]
    adapters = [open_adapter(each, base=opened) for each in names]
    met = interference(adapters, base=opened) if more or overlap or plot else None
    if met and plot:
        draw_interference(met, [Path(each).name for each in names], plot, force=force)
        note(f"{plot}: a row for each of {count(len(met.meetings), 'layer')}")
    if met is None or not (more or overlap):
        found = diff(adapters[0], adapters[1], opened)
        if as_json:
            echo_json(_as_dict(found))
        else:
            _show(found, top)
        return
    from lorry.cli.meetings import as_dicts, show

    if as_json:
        echo_json(as_dicts(met))
    else:
        show(met, names, top)


def _as_dict(found: Diff) -> dict[str, Any]:
    return {
        "max_relative_error": found.error,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "tokens": dict(found.tokens),
        "metadata": {key: list(pair) for key, pair in found.metadata.items()},
        "layers": [
            {
                "module": str(each.path),
                "param": each.param,
                "first": each.first,
                "second": each.second,
                "error": each.error,
                "cosine": each.cosine,
            }
            for each in found.worst_first
        ],
    }


def _show(found: Diff, top: int) -> None:
    rows = [
        (str(each.path), f"{each.first:.4g}", f"{each.second:.4g}", f"{each.error:.2g}", f"{each.cosine:.4f}")
        for each in found.worst_first[:top]
    ]
    table("", ("module", "‖Δ₁‖", "‖Δ₂‖", "error", "cosine"), rows)
    for word, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            echo(f"only in the {word}: {', '.join(names[:top])}{' …' if len(names) > top else ''}")
    echo(f"{count(len(found.layers), 'layer')} in both, largest relative error {found.error:.2g}")
