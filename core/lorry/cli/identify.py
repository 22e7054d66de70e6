"""lorry identify: every candidate for a file, scored, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli.listing import listing
from lorry.cli.options import as_json as json_option
from lorry.cli.output import count, echo, echo_json, facts
from lorry.errors import LorryError, NotRecognised

if TYPE_CHECKING:
    from lorry.ops.reading.identify import Identity


@click.command("identify")
@click.argument("path", nargs=-1, required=True)
@json_option
@click.option("-a", "--all", "every", is_flag=True, help="Show refused candidates too.")
@click.option("-r", "--recursive", is_flag=True, help="Take folders for what is in them, at any depth.")
def command(path: tuple[str, ...], as_json: bool, every: bool, recursive: bool) -> None:
    """Name the format, base and kinds of PATH (a file, folder or reference).

    Reads headers only. Exits with 5 where nothing reads it. With -r, or several PATHs, there is one line for
    each, of JSON too.
    """
    from lorry.ops.reading.read import identify

    first, *others = path
    if recursive or others:
        listing(path, _told, ("score", "format", "base", "kinds"), _row, as_json=as_json)
        return
    found = identify(first)
    rows = [each for each in found.candidates if every or each.score > 0 or each.broken]
    if as_json:
        echo_json(_described(found))
    else:
        echo(f"{found.path}: {found.container}, {count(found.keys, 'key')}")
        facts((f"{e.score:.0%} {e.dialect} {e.base}", e.reason) for e in rows)
    if found.best is None:
        raise _refusal(first)
    if not as_json:
        best = found.best
        rivals = sorted({each.base for each in found.rivals} - {best.base})
        doubt = f" (or {', '.join(rivals)}: they cannot be told apart here)" if rivals else ""
        echo(f"{best.dialect} for {best.base}{doubt}: {', '.join(best.kinds)}")


def _described(found: Identity) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "container": found.container,
        "keys": found.keys,
        "candidates": [
            {
                "dialect": each.dialect,
                "base": each.base,
                "score": round(each.score, 4),
                "evidence": each.evidence,
                "kinds": each.kinds,
                "layers": each.layers,
                "tokens": each.tokens,
                "reason": each.reason,
            }
            for each in found.candidates
        ],
    }


def _told(path: Path) -> dict[str, Any]:
    from lorry.ops.reading.read import identify

    found = identify(path)
    if found.best is None:
        raise _refusal(path)
    return {**_described(found), "rivals": sorted({each.base for each in found.rivals} - {found.best.base})}


def _refusal(path: str | Path) -> LorryError:
    """Return what opening it ends in, which says what it is instead."""
    from lorry.ops.reading.read import open_adapter

    try:
        open_adapter(path)
    except LorryError as error:
        return error
    return NotRecognised(f"{path}: no installed dialect and kind read it")


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    best = told["candidates"][0]
    bases = " or ".join([best["base"], *told["rivals"]])
    return f"{best['score']:.0%}", f"{best['dialect']}+{told['container']}", bases, ", ".join(best["kinds"])
