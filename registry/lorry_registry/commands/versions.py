"""lorry versions: the versions of an adapter."""

from __future__ import annotations

import click

from lorry.cli import options
from lorry.cli.output import echo_json, table
from lorry_registry.commands import arguments


@click.command("versions")
@arguments.adapter
@options.as_json
def command(adapter: str, as_json: bool) -> None:
    """List the versions of an adapter, the highest first, with their aliases, when they were published, and notes."""
    from lorry_registry import Registry
    from lorry_registry.reference import Reference

    registry, reference = Registry(), Reference.parse(adapter)
    aliases, records = registry.aliases(adapter), registry.store.records(reference)
    times = records.published()
    versions = list(reversed(registry.versions(adapter)))
    names = {version: [name for name, target in aliases.items() if target == version] for version in versions}
    if as_json:
        echo_json(
            [
                {
                    "version": str(version),
                    "aliases": names[version],
                    "published": times.get(str(version)),
                    "manifest": records.digest(version),
                    **records.note(version).said,
                }
                for version in versions
            ]
        )
        return
    rows = [
        (
            version,
            ", ".join(names[version]),
            times.get(str(version), ""),
            arguments.short(records.digest(version)),
            records.note(version),
        )
        for version in versions
    ]
    table(reference.adapter, ("version", "aliases", "published", "manifest", "note"), rows)
