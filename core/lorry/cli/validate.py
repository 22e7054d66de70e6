"""lorry validate: check an adapter thoroughly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from lorry.cli.listing import listing
from lorry.cli.options import as_json as json_option
from lorry.cli.options import base as base_option
from lorry.cli.output import echo, echo_json, table
from lorry.errors import VerificationFailed


@click.command("validate")
@click.argument("path", nargs=-1, required=True)
@base_option
@click.option("-r", "--recursive", is_flag=True, help="Take every PATH for itself, and folders for what is in them.")
@json_option
def command(path: tuple[str, ...], base: str | None, recursive: bool, as_json: bool) -> None:
    """Check every byte, key and number of an adapter; exit 0 for accept and warn, 8 for reject.

    PATH is a file, a folder, a reference, or all files of one adapter; with --base, shapes are held against that
    base too. What is looked for, and how bad each is, stands in the documentation under Validate. Pickles are read
    in a process of limited means. With -r every PATH is another adapter, or a folder of adapters: one line each.
    """
    if recursive:
        told = listing(path, partial(_told, base=base), ("verdict", "findings", "first"), _row, as_json=as_json)
        if rejected := [each["path"] for each in told if each.get("verdict") == "reject"]:
            more = f" and {len(rejected) - 1} more" if len(rejected) > 1 else ""
            raise VerificationFailed(f"{rejected[0]}{more} rejected")
        return
    found = _told(path[0] if len(path) == 1 else list(path), base)
    findings = found["findings"]
    if as_json:
        echo_json(found)
    elif findings:
        table("", ("level", "where", "what"), [tuple(each.values()) for each in findings])
    if found["verdict"] == "reject":
        first, *others = findings
        more = f" (and {len(others)} more)" if others else ""
        of_all = first["where"] == Path(path[0]).name
        said = first["what"] if of_all else f"{first['where']}: {first['what']}"
        mark = "" if of_all and said.startswith("is ") else ":"
        raise VerificationFailed(f"rejected: {path[0]}{mark} {said}{more}")
    if not as_json:
        echo(found["verdict"])


def _told(path: str | Path | list[str], base: str | None) -> dict[str, Any]:
    from lorry.ops.judging.validate import validate

    verdict = validate(path, base=base)
    return {
        "verdict": verdict.verdict,
        "findings": [{"level": each.level, "where": each.where, "what": each.what} for each in verdict.findings],
    }


def _row(told: Mapping[str, Any]) -> tuple[object, ...]:
    first = told["findings"][0] if told["findings"] else {"where": "", "what": ""}
    return told["verdict"], len(told["findings"]), f"{first['where']}: {first['what']}"[:60].strip(": ")
