"""lorry plugins: what is installed, where it comes from, what it provides."""

from __future__ import annotations

import click

from lorry.cli.options import as_json as json_option
from lorry.cli.output import echo_json, table


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """List every plugin with its distribution, version and what it provides; broken ones with the reason.

    LORRY_PLUGINS= loads none, LORRY_PLUGINS=lora,kohya those two, LORRY_PLUGINS=no:flux all but that one. Where
    plugins.allow of the settings file lists distributions, no other's plugins are loaded, but lorry's own.
    """
    from lorry.plugin.host import host

    found = host().plugins()
    if as_json:
        echo_json(
            [
                {
                    "name": each.name,
                    "module": each.module,
                    "distribution": each.distribution,
                    "version": each.version,
                    "provides": {group: list(names) for group, names in each.provides.items()},
                    "error": each.error,
                    "disabled": each.disabled,
                    "allowed": each.allowed,
                }
                for each in found
            ]
        )
        return
    rows = []
    for each in found:
        provides = "; ".join(f"{group.replace('_', ' ')}: {', '.join(names)}" for group, names in each.provides.items())
        states = {
            "left out by LORRY_PLUGINS": each.disabled,
            "not allowed by plugins.allow": not each.allowed,
            f"BROKEN: {each.error}": bool(each.error),
        }
        state = next((state for state, holds in states.items() if holds), provides)
        rows.append((each.name, f"{each.distribution} {each.version}", state))
    table("", ("plugin", "distribution", "provides"), rows)
