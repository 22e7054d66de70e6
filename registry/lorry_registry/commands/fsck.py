"""lorry fsck: check every byte of the registry, and mend it."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import columns, count, echo, echo_json, note
from lorry.errors import NotFound, VerificationFailed


@click.command("fsck")
@click.option("--repair", is_flag=True, help="Put intact bytes in place of damaged and missing ones.")
@click.option(
    "--from",
    "places",
    multiple=True,
    metavar="DIR|PLACE",
    help="Look for intact bytes below this folder, or in this place (s3://…, oci://…), too; implies --repair.",
)
@options.as_json
def command(repair: bool, places: tuple[str, ...], as_json: bool) -> None:
    """Check every record and every byte of the registry; exit 8 where something is wrong and stays so.

    --repair finds files by their content, whatever they are called: those in views, and those below --from, which may
    also be a place that versions were pushed to.
    """
    from lorry_registry import Registry

    for place in places:
        if "://" not in place and not Path(place).exists():
            raise NotFound(f"{place} does not exist; name a folder, or a place such as file:///a/folder")
    registry = Registry()
    faults = registry.fsck()
    mended = registry.repair(faults, places) if repair or places else ()
    left = registry.fsck() if mended else faults
    if as_json:
        echo_json({name: [{"where": each.where, "what": each.what} for each in those] for name, those in
                   {"faults": faults, "mended": mended, "left": left}.items()})  # fmt: skip
    else:
        columns(("where", "what"), [(each.where, each.what) for each in left]) if left else None
        note(f"{count(len(mended), 'fault')} mended") if mended else None
        echo(f"{registry.home}: {count(len(left), 'fault')}" if left else f"{registry.home} is intact")
    if left:
        raise VerificationFailed(
            f"the registry has {count(len(left), 'fault')}; lorry fsck --from mends what a folder or place has"
        )
