"""lorry validate: check a file thoroughly."""

from __future__ import annotations

import click

from lorry.cli.options import as_json as json_option
from lorry.cli.options import base as base_option
from lorry.cli.output import echo, echo_json, table
from lorry.errors import VerificationFailed


@click.command("validate")
@click.argument("path", nargs=-1, required=True)
@base_option
@json_option
def command(path: tuple[str, ...], base: str | None, as_json: bool) -> None:
    """Check every key and every number of an adapter; exit 0 only if nothing is wrong.

    With --base, shapes are held against that base too.
    """
    from lorry.ops.base import open_base
    from lorry.ops.read import open_adapter
    from lorry.ops.validate import validate

    opened = open_base(base) if base else None
    found = validate(open_adapter(path[0] if len(path) == 1 else list(path), base=opened), base=opened)
    if as_json:
        echo_json([{"level": each.level, "where": each.where, "what": each.what} for each in found])
    elif found:
        table("", ("level", "where", "what"), [(each.level, each.where, each.what) for each in found])
    errors = sum(each.level == "error" for each in found)
    if errors:
        raise VerificationFailed(f"{path[0]}: {errors} problem{'s' if errors > 1 else ''} found")
    if not as_json:
        echo("nothing is wrong" + (f", {len(found)} doubtful" if found else ""))
