"""lorry lock: fix the versions a project uses."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json


@click.command("lock")
@click.argument("references", metavar="[NS/NAME[@VERSION]...]", nargs=-1)
@click.option(
    "-o", "output", default="lorry.lock", show_default=True, metavar="FILE", type=click.Path(), help="Lock file."
)
@options.as_json
def command(references: tuple[str, ...], output: str, as_json: bool) -> None:
    """Write down which exact versions references mean now, by digest: lorry sync gets everybody the same bytes.

    Given references join those in the file, or take the place of one of the same adapter; without any, all in the file
    are looked up anew, so that ranges and aliases move on.
    """
    from lorry_registry import Registry
    from lorry_registry.lock import Lock

    path = Path(output)
    registry = Registry()
    before = Lock.read(path) if path.exists() or not references else Lock()
    made = registry.lock(references, before)
    made.write(path)
    versions = {each.exact.adapter: each.version for each in before.adapters}
    if as_json:
        echo_json({"file": output, **made.model_dump(mode="json", exclude_none=True)})
        return
    for each in made.adapters:
        known = versions.get(each.exact.adapter)
        moved = "new" if known is None else "as before" if known == each.version else f"was {known}"
        echo(f"{each.exact} for {each.reference} ({moved})")
