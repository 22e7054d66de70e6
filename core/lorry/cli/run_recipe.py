"""lorry run-recipe: make what a recipe says, or make again what lorry made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli import options
from lorry.cli.output import columns, count, echo, echo_json, note, progress

if TYPE_CHECKING:
    from lorry.recipe.finding import Found
    from lorry.recipe.plan import Step
    from lorry.recipe.running import Running


@click.command("run-recipe")
@click.argument("recipe", metavar="FILE")
@click.option("-o", "--output", type=click.Path(), help="Where to write.")
@options.inputs
@options.find_in
@click.option("--device", help="Where to compute: cpu, cuda …; as the first time if not given, where that is possible.")
@click.option("--dry-run", is_flag=True, help="Show the plan alone.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.force
@options.as_json
def command(
    recipe: str,
    output: str | None,
    inputs: tuple[str, ...],
    find_in: tuple[str, ...],
    device: str | None,
    dry_run: bool,
    yes: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Do what the recipe in FILE says: JSON or YAML, or what lorry made, whose header tells how.

    The plan comes first: every step, and where all that goes in was found. Finished steps are kept in a folder beside
    OUTPUT until all are, so that the same command goes on after it was stopped. Where what was made before is there,
    or the recipe tells the digest of its tensors, the result is compared with it; exit 8 where it is another.
    """
    from lorry.plugin.host import host
    from lorry.recipe.finding import Finder
    from lorry.recipe.plan import plan
    from lorry.recipe.reading import read_recipe
    from lorry.recipe.running import Running

    if output is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output'.")
    read = read_recipe(recipe)
    given = options.named_paths(inputs)
    below = [Path(folder) for folder in find_in]
    steps = plan(read.recipe, Finder(plugins=host(), folder=read.folder, given=given, below=below))
    run = Running(read, steps, Path(output), device=device, force=force, watch=progress) if output else None
    if dry_run:
        echo_json({"steps": [_told(step, run) for step in steps]}) if as_json else _show(steps, run)
        return
    if run is None:
        raise AssertionError("only a dry run needs no output")
    if not as_json:
        _show(steps, run)
    if not (yes or as_json) and sys.stdin.isatty():
        click.confirm(f"Make {output}", default=True, abort=True, err=True)
    done = 0
    try:
        for _ in run.run():
            done += 1
    except BaseException:
        if done:
            note(f"{done} of {count(len(steps), 'step')} finished and kept in {run.folder}; the same command goes on")
        raise
    ran = run.finish()
    if as_json:
        told = [_told(step, None) for step in steps]
        echo_json({"output": str(ran.path), "steps": told, "compared": ran.compared.told() if ran.compared else None})
        return
    compared = f", {ran.compared.in_words()}" if ran.compared else ""
    echo(f"{ran.path}: made in {count(len(steps), 'step')}{compared}")


def _show(steps: tuple[Step, ...], run: Running | None) -> None:
    rows = []
    for step in steps:
        state = "done" if run and run.finished(step) else "to do"
        for at, (name, source) in enumerate(_sources(step)):
            rows.append((*((step.name, state) if at == 0 else ("", "")), name, _where(source)))
    columns(("step", "", "takes", "from"), rows)


def _sources(step: Step) -> list[tuple[str, Found | Step]]:
    inputs = [
        (f"{each.adapter or 'a recipe'} at {each.weight:g}", source)
        for each, source in zip(step.recipe.inputs, step.inputs, strict=True)
    ]
    return [*inputs, *step.models.items()]


def _where(source: Found | Step) -> str:
    from lorry.recipe.plan import Step

    if isinstance(source, Step):
        return source.name
    return f"{source.where}, {source.size:,} bytes"


def _told(step: Step, run: Running | None) -> dict[str, Any]:
    from lorry.recipe.plan import Step

    def told(source: Found | Step) -> dict[str, Any]:
        if isinstance(source, Step):
            return {"step": source.id}
        return {
            "paths": [str(path) for path in source.paths],
            "where": source.where,
            "digests": list(source.digests),
            "bytes": source.size,
        }

    return {
        "id": step.id,
        "op": step.recipe.op,
        "finished": bool(run and run.finished(step)),
        "inputs": [told(each) for each in step.inputs],
        "models": {name: told(each) for name, each in step.models.items()},
    }
