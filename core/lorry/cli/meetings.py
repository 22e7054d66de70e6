"""Where adapters meet, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorry.cli.output import columns, echo
from lorry.ops.comparing.interference import Interference, Meeting, Pair


def show(found: Interference, names: Sequence[str], top: int) -> None:
    """Print the modules where two or more meet, those that share most first, and the cosines of the wholes."""
    for number, name in enumerate(names, 1):
        echo(f"{number}  {name}")
    meeting = sorted((each for each in found.meetings if each.pairs), key=_shared, reverse=True)
    headings = (*(f"‖Δ{at + 1}‖" for at in range(len(names))), "sum", "pair", "cosine", "inputs", "outputs", "module")
    rows = [_row(each, pair) for each in meeting[:top] for pair in each.pairs]
    columns(headings, rows)
    echo(f"{len(meeting)} of {len(found.meetings)} parameters are changed by more than one")
    for at, row in enumerate(found.cosines):
        for other in range(at + 1, len(row)):
            echo(f"{at + 1} and {other + 1} as wholes: cosine {row[other]:.4f}")


def as_dicts(found: Interference) -> dict[str, Any]:
    """Return everything as JSON holds it."""
    return {
        "cosines": found.cosines,
        "modules": [
            {
                "module": str(each.path),
                "param": each.param,
                "norms": each.norms,
                "together": each.together,
                "pairs": [pair._asdict() for pair in each.pairs],
            }
            for each in found.meetings
        ],
    }


def _row(each: Meeting, pair: Pair) -> list[str]:
    return [
        *(f"{norm:.4g}" for norm in each.norms),
        f"{each.together:.3f}",
        f"{pair.first + 1}·{pair.second + 1}",
        f"{pair.cosine:+.4f}",
        *("" if share is None else f"{share:.3f}" for share in (pair.reads, pair.writes)),
        str(each.path),
    ]


def _shared(each: Meeting) -> float:
    """Return how much two adapters have to do with one another here."""
    return max(abs(pair.cosine) + (pair.reads or 0.0) * (pair.writes or 0.0) for pair in each.pairs)
