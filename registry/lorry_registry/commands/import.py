"""lorry import: bring the versions of a file in."""  # noqa: N999  the command's own name

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json, note, progress


@click.command("import")
@click.argument("path", metavar="FILE.tar", type=click.Path(path_type=Path))
@options.as_json
def command(path: Path, as_json: bool) -> None:
    """Bring every version in from a file that lorry export wrote.

    All of the file is checked before any of it is in, as lorry clone does. An interrupted import goes on where it was.
    """
    from lorry_registry import Registry
    from lorry_registry.bundle.carry import Import

    work = Import(Registry().store, path)
    done = list(progress(work.run(), len(work.versions), "importing"))
    for alias, here, there in work.kept:
        note(f"{alias} stays at {here}; in the file it is {there}")
    if as_json:
        echo_json(
            {
                "versions": [{"reference": str(e.reference), "manifest": e.digest, "new": e.new} for e in done],
                "kept": [{"alias": str(e.alias), "here": str(e.here), "there": str(e.there)} for e in work.kept],
            }
        )
        return
    for each in done:
        echo(f"{each.reference} {'is here now' if each.new else 'was already here'}")
    echo(f"{count(len(done), 'version')} from {path}")
