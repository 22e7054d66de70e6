"""lorry doctor: whether lorry has around it what it needs."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import columns, count, echo_json
from lorry.errors import LorryError


@click.command("doctor")
@options.as_json
def command(as_json: bool) -> None:
    """Look at versions, plugins, extras, the device, the registry's home and its disk, and the Hub's token.

    Whatever is not as it should be comes with what mends it. "note" is something to know; for a "fault" the exit code
    is 1. A token is never shown. lorry fsck reads every byte of the registry besides.
    """
    from lorry.plugin.host import host
    from lorry_registry.home.layout import default_home
    from lorry_registry.upkeep.doctor import FAULT, examine

    found = list(examine(default_home(), host()))
    if as_json:
        echo_json([each._asdict() for each in found])
    else:
        columns(("", "state", "is", "mend"), [(each.name, each.state, each.told, each.mend) for each in found])
    if faults := sum(each.state == FAULT for each in found):
        raise LorryError(f"{count(faults, 'fault')} found; what mends each stands beside it")
