"""lorry convert: write an adapter in another format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli import options
from lorry.cli.output import complain, count, echo, echo_json, progress, reason
from lorry.errors import Conflict, LorryError, NotFound

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base
    from lorry.ops.writing.convert import Conversion

_SHOWN = 10
"""Approximated layers on the terminal; --json has all."""


@click.command("convert")
@click.argument("path", nargs=-1, required=True)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="FORMAT",
    help="A dialect (kohya, diffusers, peft …), or DIALECT+CONTAINER.",
)
@click.option("-o", "--output", type=click.Path(), help="Where to write one adapter.")
@click.option("--out-dir", type=click.Path(), help="Convert every PATH by itself, into this folder.")
@click.option("--in-place", is_flag=True, help="Convert every PATH by itself, and put it where it was.")
@options.base
@click.option("--verify", is_flag=True, help="Read the new file back and prove that every ΔW is the same.")
@click.option(
    "--lossy",
    is_flag=True,
    help="Make LoRAs of the layers that the format cannot hold, leave out the rest; the result says what that loses.",
)
@click.option("--rank", type=click.IntRange(1), help="Of those LoRAs; 32 if not given.")
@options.dtype
@options.recipe
@options.force
@options.as_json
def command(
    path: tuple[str, ...],
    target: str,
    output: str | None,
    out_dir: str | None,
    in_place: bool,
    base: str | None,
    verify: bool,
    lossy: bool,
    rank: int | None,
    dtype: str | None,
    recipe_file: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the adapter at PATH in another format at OUTPUT.

    Numbers are kept bit for bit unless a fused module has to be joined or --dtype rounds them. Converting
    a converted file straight back gives the first file again, byte for byte, where only names change.

    With --out-dir or --in-place every PATH is an adapter, or a folder of adapters at any depth. What cannot be
    converted is told at the end, and the others are done. In place, a file is replaced when its successor is
    whole; where the new format has another suffix, the old file stays beside the new one.
    """
    from lorry.ops.disk.output import check_outputs
    from lorry.ops.headers.recipe import keep_recipe
    from lorry.ops.reading.read import open_adapter
    from lorry.ops.writing.convert import convert

    if sum((output is not None, out_dir is not None, in_place)) != 1:
        raise click.UsageError("say where to write: -o OUTPUT, --out-dir FOLDER or --in-place")
    if rank and not lossy:
        raise click.UsageError("--rank is for what the format cannot hold as it is: say --lossy too, or lorry resize")

    if recipe_file and output is None:
        raise click.UsageError("--recipe is for one adapter: say -o OUTPUT")
    if recipe_file:
        check_outputs({"--output": output, "--recipe": recipe_file}, force=force)

    opened = _opened(base) if base else None

    def write(source: Path | str | list[str], where: Path | str) -> Conversion:
        adapter = open_adapter(source, base=opened)
        replace = force or (in_place and where == source)
        return convert(
            adapter, where, target, verify=verify, base=opened, dtype=dtype, lossy=lossy, rank=rank, force=replace
        )

    if output is None:
        _batch(path, target, out_dir, write, as_json=as_json)
        return
    done = write(path[0] if len(path) == 1 else list(path), output)
    if recipe_file:
        told = done.recipe()
        named = {"base": base} if "base" in told else {}
        keep_recipe(told, done.saved.path, Path(recipe_file), inputs=["+".join(path)], **named, force=force)
    shown = _told(done)
    echo_json(shown) if as_json else _print(shown)


def _opened(base: str) -> Base:
    from lorry.ops.bases.base import open_base

    return open_base(base)


def _batch(
    paths: tuple[str, ...],
    target: str,
    out_dir: str | None,
    write: Callable[[Path, Path], Conversion],
    *,
    as_json: bool,
) -> None:
    """Convert adapters one by one; tell of the ones that could not be, and raise LorryError where there were any."""
    from lorry.ops.disk.batch import find, outputs
    from lorry.ops.writing.write import chosen
    from lorry.plugin.host import host

    _, container = chosen(target, host())
    found = find(paths)
    if not found:
        raise NotFound(f"there is no adapter in {', '.join(paths)}")
    places = outputs(found, paths, Path(out_dir) if out_dir else None, container.suffixes)
    wanted = Counter(places.values())
    failures = []
    for source, place in progress(places.items(), len(places), "converting"):
        try:
            if wanted[place] > 1:
                alike = next(each for each in places if places[each] == place and each != source)
                raise Conflict(f"{source} and {alike} would both become {place}; convert each by itself, with -o")
            place.parent.mkdir(parents=True, exist_ok=True)
            told = _told(write(source, place))
        except (LorryError, OSError) as error:
            why = reason(error)
            failures.append(why if why.startswith(str(source)) else f"{source}: {why}")
            told = {"error": why}
        if as_json:
            echo_json({"source": str(source), **told}, indent=None)
        elif "error" not in told:
            _print(told)
    if not as_json:
        for failure in failures:
            complain(failure)
    if failures:
        raise LorryError(f"{len(failures)} of {len(places)} could not be converted")


def _told(done: Conversion) -> dict[str, Any]:
    saved, proof = done.saved, done.proof
    return {
        "output": str(saved.path),
        "format": f"{saved.dialect}+{saved.container}",
        "keys_read": len(done.adapter.report.used),
        "tensors_written": saved.tensors,
        "lost": dict(saved.lost),
        "approximated": {
            name: {"kinds": each.kinds, "rank": each.rank, "energy_lost": each.energy_lost}
            for name, each in saved.approximated.items()
        },
        "energy_lost": saved.energy_lost,
        "renamed": saved.renamed,
        "max_relative_error": proof.error if proof else None,
        "layers_compared": len(proof.layers) if proof else None,
        "tokens_compared": len(proof.tokens) if proof else None,
    }


def _print(told: Mapping[str, Any]) -> None:
    keys = f"{count(told['keys_read'], 'key')} read, {count(told['tensors_written'], 'tensor')} written"
    echo(f"{told['output']}: {told['format']}, {keys}")
    for what, why in told["lost"].items():
        echo(f"left out: {what}: {why}")
    worst = sorted(told["approximated"].items(), key=lambda each: -each[1]["energy_lost"])
    for name, each in worst[:_SHOWN]:
        kinds = " and ".join(each["kinds"])
        echo(f"now a LoRA of rank {each['rank']}: {name}: {kinds}, {each['energy_lost']:.2%} of its energy lost")
    if worst:
        more = f"; {len(worst) - _SHOWN} that lose less are not listed" if len(worst) > _SHOWN else ""
        echo(f"{count(len(worst), 'layer')} approximated, {told['energy_lost']:.2%} of their energy lost{more}")
    if told["renamed"]:
        echo(told["renamed"])
    if told["layers_compared"] is not None:
        compared = f"{count(told['layers_compared'], 'layer')} and {count(told['tokens_compared'], 'token')}"
        echo(f"verified: {compared}, largest relative error {told['max_relative_error']:.2g}")
