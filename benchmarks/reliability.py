"""Claim: whatever goes wrong, no acknowledged version is lost, nothing is broken, and all rot is found.

    python benchmarks/reliability.py [--record] [--runs KILLS] [--in FOLDER]

What `tests/reliability` samples, whole: harm at every durable call of every job, by a stand-in for Python's functions
and, of a publish, by the kernel (strace); publishers killed at random; a disk that is full; processes that race; bits
flipped in every kind of file. Takes some minutes. Needs Linux; what strace and unshare are needed for is left out, and
told, where they are missing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness import RESULTS, _machine, command_line

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reliability import crowd, full_disk, rot, strace, sweep
from tests.reliability.jobs import JOBS

BITS = 40
"""Bits of each file that are flipped by chance, beside its first and its last."""

RACERS = 16


class Row(NamedTuple):
    """One kind of harm to one thing.

    injected: how often harm was done. acknowledged: what said that it was done all the same, and was held to it; of
    files, what was of no consequence.
    faults: what is broken, lost, missed or does not work when it is tried again.
    """

    what: str
    harm: str
    injected: int
    acknowledged: int
    faults: list[str]


def measure(folder: Path, kills: int) -> int:
    """Do all the harm, tell what came of it, and return the exit code."""
    rows = []
    for row in _all(folder, kills):
        rows.append(row)
        told = f"{len(row.faults)} FAULTS: {row.faults[:3]}" if row.faults else "sound"
        print(f"{row.what:24} {row.harm:32} {row.injected:5} {row.acknowledged:5}  {told}", flush=True)
    done = sum(row.injected for row in rows)
    faults = sum(len(row.faults) for row in rows)
    print(f"{done:,} times harm was done: {faults} faults")
    if "--record" in sys.argv:
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": _machine(),
            "command": "python benchmarks/reliability.py",
            "harms": [row._asdict() for row in rows],
        }
        (RESULTS / "reliability.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return int(bool(faults))


def _all(folder: Path, kills: int) -> Iterator[Row]:
    told = crowd.run("kills", folder / "kills", kills)
    yield Row("publishers", "SIGKILL at random", told["killed"], told["acknowledged"], [])
    for job in JOBS:
        for outcome in sweep.run(job, folder / "sweep"):
            yield Row(job, outcome.harm, outcome.injected, outcome.acknowledged, outcome.faults)
    if strace.missing():
        print(f"left out: {strace.missing()}")
    else:
        for what, harm in (("SIGKILL", strace.KILL), ("EIO", strace.EIO), ("ENOSPC", strace.ENOSPC)):
            yield _by_the_kernel("a publish", folder / "strace", what, harm)
    if full_disk.missing():
        print(f"left out: {full_disk.missing()}")
    else:
        told = full_disk.run(folder / "disk")
        unclear = [each for each in told["refused"] if "No space left on device" not in each]
        yield Row("publishes", "a full disk", len(told["refused"]), told["acknowledged"], unclear)
    yield from _races(folder)
    home = rot.make(folder / "home", folder / "sources").home
    for kind in rot.KINDS:
        found = rot.sweep(home, kind, BITS, folder)
        yield Row(
            f"files: {kind}", "flipped, cut, swapped, gone", found.harmed, found.harmed - found.found, found.missed
        )


def _by_the_kernel(job: str, folder: Path, what: str, harm: str) -> Row:
    (folder / "prepared").mkdir(parents=True)
    JOBS[job].prepare(folder / "prepared")
    calls = strace.calls(job, Path(shutil.copytree(folder / "prepared", folder / "unharmed")))
    acknowledged, faults = 0, []
    for at in range(len(calls)):
        copy = Path(shutil.copytree(folder / "prepared", folder / f"at-{at}"))
        try:
            told = strace.harm(job, copy, calls, at, harm)
            acknowledged += told
            strace.judge(job, copy, acknowledged=told)
        except Exception as error:  # noqa: BLE001  whatever it is, it is broken
            faults.append(f"{what} at {calls[at].name}, call {at}: {type(error).__name__}: {error}")
        shutil.rmtree(copy)
    shutil.rmtree(folder)
    return Row(job, f"{what} by the kernel", len(calls), acknowledged, faults)


def _races(folder: Path) -> Iterator[Row]:
    told = crowd.run("version", folder / "version", RACERS)
    codes = Counter(told["codes"])
    right = codes == {0: 1, crowd.LOST_RACE: RACERS - 1}
    yield Row("one version", f"{RACERS} publish it at once", RACERS, codes[0], [] if right else [str(codes)])
    for what, thing, doing in (("alias", "one alias", "move it at once"), ("notes", "one note", "change it at once")):
        told = crowd.run(what, folder / what, RACERS)
        wrong = [each for each in told["codes"] if each] + [f"{told['torn']} torn lines"] * bool(told["torn"])
        yield Row(thing, f"{RACERS} {doing}", RACERS, told["codes"].count(0), list(map(str, wrong)))
    told = crowd.run("collect", folder / "collect", 5)
    wrong = [str(each) for each in told["codes"] if each]
    yield Row("4 publishers", "garbage collected beside them", told["versions"], told["versions"], wrong)


if __name__ == "__main__":
    sys.exit(command_line(measure, runs=300))
