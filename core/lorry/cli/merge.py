"""lorry merge: make one adapter of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli import learning, options
from lorry.cli.output import columns, count, echo, echo_json, note, progress
from lorry.errors import InvalidArgument

if TYPE_CHECKING:
    from lorry.ops.merging.merge import MergedLayer
    from lorry.plugin.merge_method import MergeMethod

_SHOWN = 12
"""How many layers --details shows; --json has all."""


def _list_methods(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from lorry.ops.merging.settings import accepts
    from lorry.plugin.host import host

    methods = host().merge_methods().values()
    if context.params.get("as_json"):
        echo_json({"methods": [_told(method) for method in methods]})
        context.exit()
    for method in methods:
        echo(f"{method.name}: {method.title}\n    {method.formula}\n    {method.source}")
        for option in method.options:
            default = "" if option.default is None else f", {option.default} by default"
            echo(f"    --set {option.name}=…  {option.help} ({accepts(option)}{default})")
    context.exit()


def _told(method: MergeMethod) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "formula": method.formula,
        "source": method.source,
        "count": method.count,
        "options": [option._asdict() for option in method.options],
    }


@click.command("merge")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER[:WEIGHT]...")
@options.output
@click.option("--method", default="sum", show_default=True, help="How to merge; sum is exactly Σ wᵢ·ΔWᵢ.")
@click.option(
    "--methods",
    is_flag=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods with formula, source and options, and exit.",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set an option of the method.")
@options.weights
@learning.like
@learning.pictures
@learning.by_layer
@learning.steps
@click.option(
    "--rank", type=click.IntRange(1), help="Cut every layer to this rank in the best way, and say what that costs."
)
@options.base
@click.option("--to", "target", metavar="FORMAT", help="Format of the result; that of the first adapter if not given.")
@options.dtype
@click.option("--details", is_flag=True, help="Show where the adapters meet, and what became of every layer.")
@options.device
@options.partial
@options.recipe
@options.force
@options.as_json
def command(
    adapters: tuple[str, ...],
    output: str,
    method: str,
    settings: tuple[str, ...],
    weights: tuple[str, ...],
    like: str | None,
    pictures: str | None,
    by_layer: bool,
    steps: int,
    rank: int | None,
    base: str | None,
    target: str | None,
    dtype: str | None,
    details: bool,
    device: str,
    partial: bool,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make one adapter of several, each with a weight: lorry merge a.safetensors:0.7 b.safetensors -o c.safetensors.

    Ranks add up under sum; where a weight cannot be folded into the stored dtype without rounding, the result
    is float32, and --dtype rounds it. What has no factors becomes a full difference, or is cut to --rank.
    """
    from lorry.ops.bases.base import open_base
    from lorry.ops.comparing.interference import interference
    from lorry.ops.disk.output import check_outputs
    from lorry.ops.headers.recipe import header, keep_recipe
    from lorry.ops.merging.merge import Merging, main_dialect
    from lorry.ops.merging.selection import to_text
    from lorry.ops.reading.read import open_adapter
    from lorry.ops.writing.write import save

    check_outputs({"--output": output, "--recipe": recipe_file}, force=force)
    opened = open_base(base) if base else None
    pairs = [(open_adapter(path, base=opened), weight) for path, weight in map(options.with_strength, adapters)]
    chosen = dict(_setting(each) for each in settings)
    learned = learning.learn_weights(
        pairs, weights, like=like, pictures=pictures, every=by_layer, turns=steps, base=opened, device=device
    )
    if learned:
        weights, pairs = tuple(map(to_text, learned.found.weights)), [(adapter, 1.0) for adapter, _ in pairs]
    work = Merging(
        pairs, method, weights=weights, options=chosen, rank=rank, base=opened, device=device, partial=partial
    )
    layers = list(progress(work.run(), work.total, "merging"))
    merged = work.finish()
    if not merged.layers and not merged.tokens:  # no file says that it is empty on purpose
        raise InvalidArgument("every weight is 0; nothing would be left")
    met = interference(pairs, weights=weights, base=opened) if details and len(pairs) > 1 else None
    wanted = target or main_dialect(pairs[0][0])
    told = {**work.recipe(wanted, dtype), **(learned.recipe if learned else {})}
    saved = save(merged, output, wanted, dtype=dtype, force=force, metadata=header(told))
    if recipe_file:
        names = [options.with_strength(each)[0] for each in adapters]
        keep_recipe(told, saved.path, Path(recipe_file), inputs=names, base=base, force=force)
    if as_json:
        from lorry.cli.meetings import as_dicts

        echo_json(
            {
                "output": str(saved.path),
                "format": f"{saved.dialect}+{saved.container}",
                "layers": len(merged.layers),
                "tokens": sorted(merged.tokens),
                "tensors_written": saved.tensors,
                "max_error": max((each.error for each in layers), default=0.0),
                **({"learned": list(weights), **learned.told} if learned else {}),
                **({"meetings": as_dicts(met)} if met else {}),
                **({"merged": [_as_dict(each) for each in layers]} if details else {}),
            }
        )
        return
    if details:
        _show(layers)
    if met:
        from lorry.cli.meetings import show

        show(met, [str(path) for path in adapters], top=_SHOWN)
    if learned:
        learned.show(adapters)
    made = f"{count(len(merged.layers), 'module')}, {count(saved.tensors, 'tensor')}{_worst(layers)}"
    echo(f"{saved.path}: {count(len(pairs), 'adapter')} merged by {method}, {made}")
    if saved.renamed:
        echo(saved.renamed)
    full = sum(each.form == "full" for each in layers)
    if full:
        size = "as large as the weights themselves; --rank N makes low-rank layers"
        note(f"{count(full, 'layer')} became full differences, {size}")


def _worst(layers: Sequence[MergedLayer]) -> str:
    worst = max(layers, key=lambda each: each.error, default=None)
    return f", error up to {worst.error:.2g} at {worst.path}" if worst and worst.error else ""


def _show(layers: Sequence[MergedLayer]) -> None:
    worst = sorted(layers, key=lambda each: -each.error)[:_SHOWN]
    rows = [(each.form, each.rank or "", f"{each.error:.2g}", f"{each.path}.{each.param}") for each in worst]
    columns(("form", "rank", "error", "parameter"), rows)
    echo()


def _as_dict(layer: MergedLayer) -> dict[str, Any]:
    return {**layer._asdict(), "path": str(layer.path)}


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise InvalidArgument(f"--set {text} is no setting; write NAME=VALUE, as in density=0.5")
    return name, value
