"""lorry lineage: what a version was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry_registry.commands import arguments

if TYPE_CHECKING:
    from lorry_registry.lineage.ancestry import Made


@click.command("lineage")
@arguments.reference
@click.option("--dot", is_flag=True, help="Print it for Graphviz: lorry lineage REF --dot | dot -Tpng -o FILE.png")
@options.as_json
def command(reference: str, dot: bool, as_json: bool) -> None:
    """Show what a version was made from, down to files that are published nowhere here, and what is made from it."""
    from lorry_registry import Registry

    if dot and as_json:
        raise click.UsageError("--dot and --json print the same tree in two ways: say one of them.")
    registry = Registry()
    found = registry.lineage(reference)
    if dot:
        from lorry_registry.lineage.ancestry import to_dot

        echo(to_dot(found).rstrip())
        return
    children = [str(each.reference) for each in registry.descendants(reference)]
    if as_json:
        made = [
            {
                "digest": digest,
                "name": each.name,
                "op": each.op,
                "origins": [origin._asdict() for origin in each.origins],
            }
            for digest, each in found.items()
        ]
        echo_json({"made": made, "descendants": children})
        return
    for line in _lines(found, next(iter(found)), set()):
        echo(line)
    for child in children:
        echo(f"used in {child}")


def _lines(found: Mapping[str, Made], digest: str, shown: set[str], depth: int = 0, weight: str = "") -> Iterator[str]:
    """Yield one line for each step, deeper ones further in; what was shown before is not shown again."""
    made, again = found[digest], digest in shown
    shown.add(digest)
    came = "" if not made.origins else f", by {made.op} from" if made.name else ", of"
    yield f"{'  ' * depth}{made.label}{weight}{' (as above)' if again and made.origins else came}"
    for origin in () if again else made.origins:
        strength = "" if origin.weight is None else f" at {origin.weight:g}"
        yield from _lines(found, origin.digest, shown, depth + 1, strength)
