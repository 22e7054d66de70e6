"""lorry add: bring other people's adapters into the registry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from lorry.cli import options
from lorry.cli.output import bytes_progress, columns, echo, echo_json, note
from lorry.errors import VerificationFailed

if TYPE_CHECKING:
    from lorry_registry.adding.add import Outcome

_LONGEST = 90


@click.command("add")
@click.argument("sources", metavar="SOURCE... [NS/NAME@VERSION]", nargs=-1, required=True, type=click.Path())
@click.option("--namespace", metavar="NS", default="foreign", show_default=True, help="The namespace of new names.")
@click.option("--in-place", is_flag=True, help="Leave files where they are, and hold a link to them.")
@click.option("--look-up", is_flag=True, help="Ask the stores over the network what they know of files, by hash.")
@click.option(
    "--allow-host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Fetch from this host though its address is private, and without TLS where the address says http.",
)
@click.option("--max-size", metavar="SIZE", help="Fetch no more than this for one address (8GB if not given).")
@click.option(
    "--max-time",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    help="Fetch no longer than this for one address.",
)
@click.option("-y", "--yes", is_flag=True, help="Let in what lorry validate warns of, too.")
@options.as_json
def command(
    sources: tuple[str, ...],
    namespace: str,
    in_place: bool,
    look_up: bool,
    hosts: tuple[str, ...],
    max_size: str | None,
    max_time: float,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring other people's adapters into the registry; lorry publish is for your own.

    SOURCE is a file, a folder with all adapters below it, or an address: https://…, civitai://…, urn:air:…, and what
    plugins add. With NS/NAME@VERSION at the end, all SOURCEs are the files of that version; else each adapter is named
    after itself. Everything goes into quarantine first and is checked as lorry validate does. What is rejected never
    gets in, what is warned of waits there for lorry quarantine accept, and pickles become safetensors files. With
    --in-place nothing is copied: a file that was moved or changed since is found out, and never used. Exit 8 unless
    everything is in.
    """
    from lorry.ops.disk.byte_count import byte_count
    from lorry.plugin.fetched import Limits
    from lorry_registry import Registry
    from lorry_registry.adding.add import Wishes
    from lorry_registry.adding.naming import exact
    from lorry_registry.adding.origins import scheme_of

    *others, last = sources
    target = exact(last) if others else None
    limits = Limits(seconds=max_time, hosts=tuple(host.lower() for host in hosts))
    if max_size is not None:
        limits = limits._replace(nbytes=byte_count(max_size))
    wishes = Wishes(namespace=namespace, warned=yes, limits=limits, look_up=look_up, in_place=in_place)
    outcomes = []
    with bytes_progress("fetching") if any(map(scheme_of, sources)) else nullcontext():
        for outcome in Registry().add(others if target else sources, str(target) if target else None, wishes):
            outcomes.append(outcome)
            if len(outcomes) > 1 and not as_json:
                note(f"{outcome.outcome}: {outcome.source}")
    _tell(outcomes, as_json=as_json)
    left = [each for each in outcomes if not each.reference]
    if len(outcomes) == 1 and left and left[0].error:
        raise left[0].error
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise VerificationFailed(f"{left[0].source} is not in{more}: {_why(left[0])}")


def _tell(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        echo_json([_told(each) for each in outcomes])
    elif len(outcomes) == 1 and outcomes[0].reference:
        echo(f"{outcomes[0].outcome}: {outcomes[0].reference}, manifest sha256:{outcomes[0].manifest}")
    elif len(outcomes) > 1:
        headings = ("outcome", "as", "source", "why")
        rows = [(each.outcome, each.reference or each.id, each.source, _why(each, _LONGEST)) for each in outcomes]
        columns(headings, rows)


def _told(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {
        "source": outcome.source,
        "outcome": outcome.outcome,
        "why": outcome.why,
        "step": outcome.step,
    }
    told |= {"reference": outcome.reference, "manifest": outcome.manifest, "quarantine": outcome.id}
    if outcome.examined:
        told |= {
            "verdict": outcome.examined.verdict,
            "findings": [{"level": each.level, "where": each.where, "what": each.what}
                         for each in outcome.examined.findings],
            "files": [each._asdict() for each in outcome.examined.originals],
        }  # fmt: skip
    return told


def _why(outcome: Outcome, longest: int | None = None) -> str:
    return "; ".join(filter(None, (outcome.why[:longest], outcome.step)))
