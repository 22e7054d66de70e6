"""lorry diff: compare two adapters layer by layer."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json, table


@click.command("diff")
@click.argument("first")
@click.argument("second")
@options.base
@click.option(
    "--top",
    default=12,
    show_default=True,
    type=click.IntRange(0),
    help="How many layers to show, the most different first.",
)
@options.as_json
def command(first: str, second: str, base: str | None, top: int, as_json: bool) -> None:
    """Compare what two adapters do: norms, relative error and cosine of ΔW, layer by layer, whatever their formats."""
    from lorry.ops.base import open_base
    from lorry.ops.diff import diff
    from lorry.ops.read import open_adapter

    opened = open_base(base) if base else None
    found = diff(open_adapter(first, base=opened), open_adapter(second, base=opened), opened)
    rows = sorted(found.layers, key=lambda each: -each.error)
    if as_json:
        echo_json(
            {
                "max_relative_error": found.error,
                "only_first": found.only_first,
                "only_second": found.only_second,
                "tokens": dict(found.tokens),
                "metadata": {key: list(pair) for key, pair in found.metadata.items()},
                "layers": [
                    {
                        "module": str(e.path),
                        "param": e.param,
                        "first": e.first,
                        "second": e.second,
                        "error": e.error,
                        "cosine": e.cosine,
                    }
                    for e in rows
                ],
            }
        )
        return
    shown = [
        (str(e.path), f"{e.first:.4g}", f"{e.second:.4g}", f"{e.error:.2g}", f"{e.cosine:.4f}") for e in rows[:top]
    ]
    table("", ("module", "‖Δ₁‖", "‖Δ₂‖", "error", "cosine"), shown)
    for word, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            echo(f"only in the {word}: {', '.join(names[:top])}{' …' if len(names) > top else ''}")
    echo(f"{count(len(found.layers), 'layer')} in both, largest relative error {found.error:.2g}")
