"""lorry sync: get the versions a lock file names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import columns, count, echo, echo_json
from lorry.errors import VerificationFailed

if TYPE_CHECKING:
    from lorry_registry.lock import Difference


@click.command("sync")
@click.option(
    "--lock", "lock", default="lorry.lock", show_default=True, metavar="FILE", type=click.Path(), help="Lock file."
)
@click.option("--to", "folder", default="adapters", show_default=True, metavar="DIR", type=click.Path(), help="Folder.")
@click.option("--frozen", is_flag=True, help="Change nothing; exit 8 where anything is not as locked.")
@options.force
@options.as_json
def command(lock: str, folder: str, frozen: bool, force: bool, as_json: bool) -> None:
    """Copy every file of every locked version to DIR/NAMESPACE/NAME, each byte checked against the lock file.

    Other files there are left alone; --frozen names those that stand among a version's files.
    """
    from lorry_registry import Registry
    from lorry_registry.lock import Lock

    registry, locked = Registry(), Lock.read(Path(lock))
    if not frozen:
        paths = registry.sync(locked, folder, force=force)
        if as_json:
            echo_json({"files": [str(path) for path in paths]})
        else:
            echo(f"{folder}: {count(len(locked.adapters), 'adapter')}, {count(len(paths), 'file')}, as locked")
        return
    found = registry.differences(locked, folder)
    if as_json:
        echo_json({"differences": [each._asdict() for each in found]})
    elif found:
        columns(("where", "what"), [(each.where, each.what) for each in found])
    else:
        echo(f"{folder} is as locked")
    if found:
        raise VerificationFailed(f"{count(len(found), 'difference')} from {lock}; {_step(found)}")


def _step(found: Sequence[Difference]) -> str:
    """Say what to do: what is too much stays after another sync."""
    strays = [each.where for each in found if each.stray]
    steps = [] if len(strays) == len(found) else ["lorry sync gets what is locked"]
    if strays:
        more = f" (and {len(strays) - 1} more)" if len(strays) > 1 else ""
        steps.append(f"move {strays[0]}{more} out of the folder: it is none of the locked files")
    return "; ".join(steps)
