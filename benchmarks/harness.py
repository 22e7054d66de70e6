"""What the benchmarks share: contestants are child processes that take turns, and what each costs is measured.

CPU time is user + system of the whole child (wait4), which other work on the machine inflates far less than wall
time; peak memory is its largest resident set. Every contestant may use one thread. A benchmark is one file a claim:

    contestants = [Contestant("lorry", [sys.executable, "-m", "lorry", …]), Contestant("peer", …)]
    costs = race(contestants, runs=5, before=remove_outputs)
    sys.exit(conclude(Result("name", "What is measured", costs, claims=[Claim("what", holds)], …)))

The parent must stay small: on Linux a child's peak is never less than its parent's size when it was started, so
nothing heavy is imported here or in a benchmark's own process. Needs a POSIX system.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"
"""Where the last recorded run of each benchmark is kept, for the page that docs/generate.py writes."""

BARE = "interpreter alone"
"""The contestant that does nothing: what starting Python costs."""

_ALIKE = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    ),
    "LORRY_CACHE": "",
}
"""One thread each; and lorry hashes every file anew, unless a contestant is given a cache."""


class Contestant(NamedTuple):
    """One way to do the job: its name in the table, the command, and the packages whose versions belong beside it."""

    name: str
    command: Sequence[str]
    packages: Sequence[str] = ()


class Cost(NamedTuple):
    """What one run took: CPU seconds, wall seconds, and the largest resident set in MB (10^6 bytes)."""

    cpu: float
    wall: float
    peak: float


class Claim(NamedTuple):
    """What a benchmark says of its numbers, and whether they bear it out."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One benchmark's outcome. `accuracy` says how it was made sure that all contestants did the same job."""

    name: str
    title: str
    counted: str
    accuracy: str
    costs: Mapping[str, Sequence[Cost]]
    claims: Sequence[Claim]
    versions: Mapping[str, str] = field(default_factory=dict)


def python(code: str, *arguments: object) -> list[str]:
    """Return the command that runs some code in this interpreter."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def with_cache(folder: Path, command: Sequence[str]) -> list[str]:
    """Return a command of lorry's that keeps the hashes it makes in a folder, and takes those that are there."""
    return ["env", f"LORRY_CACHE={folder}", *command]


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command with one thread and return its cost; one that fails ends the benchmark."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**inherited, **_ALIKE, **(environment or {})}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} exited with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * unit / 1e6)


def race(
    contestants: Sequence[Contestant],
    runs: int = 5,
    before: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, list[Cost]]:
    """Run all contestants in turn, `runs` times over, after a round that only warms the disk and writes bytecode.

    `before` is called before each single run, to clear away what the last one wrote.
    """
    costs: dict[str, list[Cost]] = {each.name: [] for each in contestants}
    for number in range(runs + 1):
        for each in contestants:
            before()
            cost = run(each.command, environment)
            if number:
                costs[each.name].append(cost)
    return costs


def cpu(costs: Sequence[Cost]) -> float:
    """Return the median CPU seconds of some runs."""
    return statistics.median(cost.cpu for cost in costs)


def peak(costs: Sequence[Cost]) -> float:
    """Return the median peak memory of some runs, in MB."""
    return statistics.median(cost.peak for cost in costs)


def versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Return the versions of Python and of the packages that took part."""
    packages = sorted({package for each in contestants for package in each.packages})
    return {"python": platform.python_version()} | {each: importlib.metadata.version(each) for each in packages}


def command_line(measure: Callable[[Path, int], int], runs: int = 5) -> int:
    """Read --runs N, --in FOLDER (kept, with what is made there) and --record; measure there or in a temporary one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--record", action="store_true")  # `conclude` looks for it
    options = parser.parse_args()
    if options.folder is not None:
        return measure(options.folder, options.runs)
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), options.runs)


def table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Lay out medians as a Markdown table, with the spread of the CPU time."""
    lines = ["| contestant | CPU s | least … most | peak MB | runs |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, each in costs.items():
        spent = [cost.cpu for cost in each]
        lines.append(
            f"| {name} | {cpu(each):.3f} | {min(spent):.3f} … {max(spent):.3f} | {peak(each):.0f} | {len(each)} |"
        )
    return "\n".join(lines)


def conclude(result: Result) -> int:
    """Print a result and return the exit code, 1 where a claim does not hold; with --record, keep it in RESULTS."""
    print(f"{result.title}\n\n{table(result.costs)}\n\ncounted: {result.counted}\nsame job: {result.accuracy}")
    for claim in result.claims:
        print(f"{'holds' if claim.holds else 'FAILS'}: {claim.text}")
    if "--record" in sys.argv:
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": _machine(),
            "command": f"python benchmarks/{Path(sys.argv[0]).name}",
            **asdict(result),
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{result.name}.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return int(not all(claim.holds for claim in result.claims))


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.system()}"
