"""What `validate` finds, and how bad each is: one table, from which the reference page is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

ACCEPT, WARN, REJECT = "accept", "warn", "reject"

MOST = 100
"""Findings of one check that are told one by one; the others are counted."""


class Check(NamedTuple):
    """One thing that is looked for: how bad it is, what it is, and why it is that bad."""

    level: str
    what: str
    why: str


CHECKS: Mapping[str, Check] = {
    "refused": Check(
        REJECT,
        "a file that its container or its dialect refuses: damaged, cut off, followed by something, a header that "
        "lies, a pickle that asks for a call, factors that do not fit one another, one module under two names, a "
        "layer larger than any model",
        "nothing in it can be trusted, and no command of lorry takes anything from it",
    ),
    "exhausted": Check(
        REJECT,
        "reading it crashed, or took more time or memory than its size explains",
        "what does so to a reader that checks sizes first is made to do so",
    ),
    "checksum": Check(
        REJECT, "bytes that differ from the checksum beside them", "they are damaged, or were changed afterwards"
    ),
    "unknown": Check(
        REJECT,
        "a layout that no installed dialect and kind read, or something else by name (a base model, a ControlNet)",
        "whether it is what it claims cannot be told",
    ),
    "base": Check(REJECT, "not for the base given with --base", "it cannot be used there"),
    "not finite": Check(REJECT, "NaN or infinity", "one such number makes every picture black"),
    "scale": Check(
        REJECT,
        "a scale beyond ±1,000, or that is no finite number",
        "training never gives one: the largest in use is √rank, for rsLoRA",
    ),
    "mostly unmapped": Check(
        REJECT, "more keys that are not understood than keys that are", "the rest would be a fragment of something else"
    ),
    "empty": Check(REJECT, "a tensor of no numbers in a layer or token", "no tool writes one; tools crash on it"),
    "unmapped": Check(
        WARN, "keys that are not understood", "they are kept, but an operation goes on without them only if asked to"
    ),
    "large scale": Check(
        WARN, "a scale beyond ±32: alpha is that many times the rank", "a slip more often than a wish"
    ),
    "alpha": Check(
        WARN, "an alpha of 0", "it is read as the rank, as the tools that write it mean it; others then add nothing"
    ),
    "negative scale": Check(WARN, "a scale below 0", "the adapter does the contrary of what it learned"),
    "zero scale": Check(WARN, "a scale of 0", "the layer does nothing"),
    "conflict": Check(
        WARN,
        "a claim of the header (its base, a hash) that the tensors contradict",
        "the tensors decide, but other tools may believe the header",
    ),
    "ambiguous": Check(
        WARN, "a scale, or a key of the metadata, that the file alone cannot tell", "it may be read as it was not meant"
    ),
    "undecided": Check(
        ACCEPT, "a base or component that the file alone cannot tell", "nothing is wrong with it; --base settles it"
    ),
}
"""Every check by name, the worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its level, where it is (a key, a module, a file), and what is wrong there."""

    level: str
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of an adapter: `accept`, `warn` or `reject`, the worst level among the findings."""

    verdict: str
    findings: tuple[Finding, ...]


def judge(findings: Iterable[tuple[str, str, str]]) -> Verdict:
    """Turn (check, where, what) into a verdict, the worst first; more than 100 of one check are counted."""
    found: dict[str, list[tuple[str, str]]] = {}
    for check, where, what in findings:
        found.setdefault(check, []).append((where, what))
    listed = tuple(_listed(found))
    return Verdict(listed[0].level if listed else ACCEPT, listed)


def _listed(found: Mapping[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    for name, check in CHECKS.items():
        places = found.get(name, [])
        yield from (Finding(check.level, where, what) for where, what in places[:MOST])
        if len(places) > MOST:
            yield Finding(check.level, f"{len(places) - MOST:,} more", check.what)
