"""The pages of what the benchmarks recorded, and their pictures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bars import bars
from tables import table

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_NO_CONTESTANTS = ("interpreter alone", "import ", "lorry --version")


def performance_page() -> str:
    """Show the last recorded run of every benchmark, with what was claimed of it and whether it holds."""
    return "\n\n".join(
        [
            "# Performance",
            (
                "What lorry costs beside other ways to do the same job, as `benchmarks/` measured it: each table is "
                "the last run recorded with `--record`, and the command above it repeats it. CPU time is user and "
                "system time of a whole process with one thread a process, which other work on the machine changes "
                "far less than the time on the clock; shown are the median, and the least and most. Peak is the "
                "median of the largest resident set, in MB of 10⁶ bytes."
            ),
            (
                "Bars are on a logarithmic scale. Claims that do not hold stay on the page. `benchmarks/startup.py` "
                "and `benchmarks/registry.py` hold what small commands cost against limits in milliseconds; they "
                "record nothing."
            ),
            *(_benchmark(each) for each in _races()),
        ]
    )


def performance_pictures() -> dict[str, str]:
    """Draw the CPU seconds of every benchmark's contestants, by the name of the file."""
    return {f"{each['name']}.svg": bars(each["title"], _seconds(each)) for each in _races()}


def reliability_page() -> str:
    """Show the last recorded sweeps of harm: what was done how often, and what came of it."""
    result = _read(RESULTS / "reliability.json")
    rows = [
        (each["what"], each["harm"], str(each["injected"]), str(each["acknowledged"]), str(len(each["faults"])))
        for each in result["harms"]
    ]
    done, faults = (sum(int(row[at]) for row in rows) for at in (2, 4))
    return "\n\n".join(
        [
            "# Reliability",
            (
                f"`{result['command']}`, {result['date']}, on {result['machine']}: harm was done {done:,} times, and "
                f"{faults or 'nothing'} was broken, lost, missed or not to be done again. "
                "[What is tried, and how](../explanation/reliability.md)."
            ),
            (
                "Times: how often it was done. Acknowledged: what said that it was done all the same, and was held to "
                "it; of publishers killed at random, the versions they had acknowledged; of files, what was of no "
                "consequence. Faults: what was broken, lost or missed, or did not work when it was tried again."
            ),
            table(("to", "harm", "times", "acknowledged", "faults"), rows),
        ]
    )


def _races() -> list[dict[str, Any]]:
    return [result for path in sorted(RESULTS.glob("*.json")) if "costs" in (result := _read(path))]


def _seconds(result: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the CPU seconds of all runs, without those of contestants that only start."""
    costs = result["costs"].items()
    return {name: [cpu for cpu, *_ in runs] for name, runs in costs if not name.startswith(_NO_CONTESTANTS)}


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _benchmark(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    rows = [(name, *_cost(runs), str(len(runs))) for name, runs in result["costs"].items()]
    claims = [("holds" if holds else "**does not hold**", text) for text, holds in result["claims"]]
    return "\n\n".join(
        [
            f"## {result['title']}",
            f"`{result['command']}`, {result['date']}, on {result['machine']}; {versions}.",
            f"![CPU seconds of each contestant](../images/performance/{result['name']}.svg)",
            table(("", "CPU s", "least … most", "peak MB", "runs"), rows),
            f"- counted: {result['counted']}\n- the same job: {result['accuracy']}",
            table(("", "claim"), claims),
        ]
    )


def _cost(runs: Sequence[Sequence[float]]) -> tuple[str, str, str]:
    cpu, _, peak = zip(*runs, strict=True)
    return f"{statistics.median(cpu):.2f}", f"{min(cpu):.2f} … {max(cpu):.2f}", f"{statistics.median(peak):.0f}"
