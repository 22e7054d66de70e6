"""lorry identify: every candidate for a file, scored, with reasons."""

from __future__ import annotations

import click

from lorry.cli.options import as_json as json_option
from lorry.cli.output import echo, echo_json, facts
from lorry.errors import NotRecognised


@click.command("identify")
@click.argument("path")
@json_option
@click.option("-a", "--all", "every", is_flag=True, help="Show refused candidates too.")
def command(path: str, as_json: bool, every: bool) -> None:
    """Name the format, base and kinds of PATH (a file, folder or reference).

    Reads headers only. Exits with 5 where nothing reads it.
    """
    from lorry.ops.read import identify

    found = identify(path)
    rows = [each for each in found.candidates if every or each.score > 0 or found.best is None]
    if as_json:
        echo_json(
            {
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
        )
    else:
        echo(f"{found.path}: {found.container}, {found.keys} keys")
        facts((f"{e.score:.0%} {e.dialect} {e.base}", e.reason) for e in rows)
    if found.best is None:
        raise NotRecognised(f"{found.path}: no installed dialect and kind read it")
    if not as_json:
        best = found.best
        rivals = sorted({each.base for each in found.rivals} - {best.base})
        doubt = f" (or {', '.join(rivals)}: they cannot be told apart here)" if rivals else ""
        echo(f"{best.dialect} for {best.base}{doubt}: {', '.join(best.kinds)}")
