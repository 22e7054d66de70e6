"""lorry quarantine: other people's files that are not in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lorry.cli import options
from lorry.cli.output import columns, echo, echo_json, facts, note, table

if TYPE_CHECKING:
    from lorry_registry.adding.quarantine import Damaged, Examined

_LONGEST = 80


class _Listed(NamedTuple):
    id: str
    verdict: str
    wanted: str
    source: str
    worst: str


@click.group("quarantine")
def command() -> None:
    """List, show, let in or delete what lorry add has not let in."""


@command.command("ls")
@options.as_json
def list_held(as_json: bool) -> None:
    """List what is in quarantine, with the verdict and the worst finding of each."""
    from lorry_registry import Registry

    found = [_listed(each) for each in Registry().quarantine.ls()]
    if as_json:
        echo_json([each._asdict() for each in found])
    elif found:
        rows = [(each.id, each.verdict, each.wanted, each.worst[:_LONGEST]) for each in found]
        columns(("id", "verdict", "would be", "worst finding"), rows)
    else:
        note("nothing is in quarantine")


@command.command("show")
@click.argument("name", metavar="ID")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show where it came from, its files, and everything that was found."""
    from dataclasses import asdict

    from lorry_registry import Registry

    held = Registry().quarantine.get(name)
    if as_json:
        told: dict[str, Any] = {"id": held.id, "verdict": held.verdict, "wanted": held.wanted}
        told |= {
            "source": held.source,
            "facts": held.facts._asdict() | {"hashes": {name: {**each} for name, each in held.facts.hashes.items()}},
        }
        told |= {"findings": [asdict(each) for each in held.findings]}
        echo_json(told | {"files": list(held.files), "originals": [each._asdict() for each in held.originals]})
        return
    said = {name: value for name, value in held.facts._asdict().items() if value and value != held.source}
    said.pop("hashes", None)
    pairs = [("verdict", held.verdict), ("would be", held.wanted), ("came from", held.source)]
    pairs += [(name, ", ".join(value) if isinstance(value, tuple) else str(value)) for name, value in said.items()]
    facts([*pairs, *((f"{each.name} as it came", f"sha256:{each.sha256}, {each.size:,} bytes")
                     for each in held.originals)])  # fmt: skip
    if held.findings:
        table("", ("level", "where", "what"), [(each.level, each.where, each.what) for each in held.findings])


@command.command("accept")
@click.argument("name", metavar="ID")
@click.argument("reference", metavar="[NS/NAME@VERSION]", required=False)
@options.as_json
def accept(name: str, reference: str | None, as_json: bool) -> None:
    """Publish what waits, under the name it would have or another; what was rejected is never let in."""
    from lorry_registry import Registry

    found = Registry().accept(name, reference)
    if as_json:
        echo_json({"reference": str(found.reference), "manifest": found.digest})
    else:
        echo(f"added: {found.reference}, manifest sha256:{found.digest}")


@command.command("rm")
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@options.as_json
def remove(names: tuple[str, ...], as_json: bool) -> None:
    """Delete files from quarantine; what was published from there stays."""
    from lorry_registry import Registry

    quarantine = Registry().quarantine
    held = [quarantine.id_of(name) for name in names]
    for each in held:
        quarantine.rm(each)
    if as_json:
        echo_json({"removed": held})
    else:
        echo(f"deleted: {', '.join(held)}")


def _listed(held: Examined | Damaged) -> _Listed:
    from lorry_registry.adding.quarantine import Damaged

    if isinstance(held, Damaged):
        return _Listed(held.id, "damaged", "", "", held.why)
    return _Listed(held.id, held.verdict, held.wanted, held.source, held.worst)
