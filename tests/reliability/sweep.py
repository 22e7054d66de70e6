"""Harm at each durable call of a job, one process a harm: what is broken, what is lost, and does trying again work.

python -m tests.reliability.sweep sweep JOB FOLDER COUNT HARM…  a JSON line for each harm, done at COUNT calls (0: all)
python -m tests.reliability.sweep once JOB FOLDER               do a prepared job once; exit status 0 acknowledges it
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lorry.errors import LorryError
from tests.reliability.faults import HARMS, KILLED, Faults, Told, read_told
from tests.reliability.jobs import AFTER, BEFORE, CARELESS, JOBS, Job
from tests.reliability.power import Disk

NAMES_LOST, BYTES_LOST, RETRIED = "power cut, names lost", "power cut, bytes lost", "power cut after a retry"
CUTS = (NAMES_LOST, BYTES_LOST, RETRIED)
"""A SIGKILL, and then only what was synced is left, in the two worst ways; or the job is killed, done again and
acknowledged, and the power cut comes then."""

_ACKNOWLEDGED, _REFUSED, _RAISED = 0, 3, 4
ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What came of one harm at many calls of a job.

    calls: the durable calls of the job unharmed, by name. injected: how often harm was done. acknowledged: jobs that
    returned all the same. states: how far it got, by number. faults: what is broken or lost, in words.
    """

    job: str
    harm: str
    calls: list[str]
    injected: int
    acknowledged: int
    states: dict[str, int]
    faults: list[str]


def run(job: str, folder: Path, harms: tuple[str, ...] = HARMS + CUTS, count: int = 0) -> list[Outcome]:
    """Sweep a job in a process of its own and return the outcome of each harm, done at `count` calls (0: all)."""
    command = [sys.executable, "-m", "tests.reliability.sweep", "sweep", job, str(folder), str(count), *harms]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def sweep(name: str, folder: Path, count: int, harm: str) -> Outcome:
    """Do harm at `count` durable calls of a job, evenly spread, other ones for other harms; at all for 0."""
    job, pristine = {**JOBS, **CARELESS}[name], folder / "pristine"
    shutil.rmtree(folder, ignore_errors=True)
    pristine.mkdir(parents=True)
    job.prepare(pristine)
    calls = _harmed(job, _copy(pristine, folder / "unharmed"), 0, KILLED).told.tried
    step = max(1, len(calls) // count) if count else 1
    first = 1 + (HARMS + CUTS).index(harm) % step
    states: Counter[str] = Counter()
    injected, acknowledged, faults = 0, 0, []
    after = {len(calls) + 1} if harm in CUTS else set()  # the power may be cut right after the acknowledgement
    for at in sorted({*range(first, len(calls) + 1, step), *after}):
        place = _copy(pristine, folder / f"at-{at}")
        done = _harmed(job, place, at, KILLED if harm in CUTS else harm)
        injected += done.told.harmed or at in after
        acknowledged += done.code == _ACKNOWLEDGED
        if harm in CUTS:
            place = _cut(job, pristine, place, done, harm)
        try:
            states[_judge(job, place, done, harm)] += 1
        except (AssertionError, LorryError, OSError, ValueError) as error:
            faults.append(f"{name}, {harm} at call {at}: {type(error).__name__}: {error}")
        shutil.rmtree(place)
    return Outcome(name, harm, calls, injected, acknowledged, dict(states), faults)


class _Done(NamedTuple):
    code: int
    told: Told
    said: str


def _judge(job: Job, place: Path, done: _Done, harm: str) -> str:
    state = job.state(place)
    if (done.code == _ACKNOWLEDGED or harm == RETRIED) and (job.lasts or harm not in CUTS):
        assert state == AFTER, f"acknowledged, and lost: it is as {state}"
    assert done.code != _RAISED, f"neither what the system said nor an error of lorry's own: {done.said}"
    assert not ("nothing is changed" in done.said and state != BEFORE), f"it lied: {done.said}; it is as {state}"
    job.act(place)
    again = job.state(place)
    assert again == AFTER, f"trying again leaves it as {again}"
    return state


def _cut(job: Job, pristine: Path, place: Path, done: _Done, harm: str) -> Path:
    disk, left = Disk(pristine, place), place.with_name(f"{place.name}-left")
    disk.follow(done.told.calls)
    if harm == RETRIED:
        again = _harmed(job, place, 0, KILLED)
        assert again.code == _ACKNOWLEDGED, f"trying again fails: {again.said}"
        disk.follow(again.told.calls)
    disk.rest(left, names_stay=harm == BYTES_LOST)
    shutil.rmtree(place)
    return left.rename(place)


def _harmed(job: Job, place: Path, at: int, harm: str) -> _Done:
    """Do a job in a copy of this process with harm at its `at`-th call."""
    told, said = place.with_name(f"{place.name}.calls"), place.with_name(f"{place.name}.said")
    child = os.fork()
    if not child:
        code = _RAISED
        try:
            warnings.simplefilter("ignore")
            Faults(at, harm, told)
            code = _act(job, place, said)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    words = said.read_text("utf-8") if said.exists() else ""
    said.unlink(missing_ok=True)
    assert code in (_ACKNOWLEDGED, _REFUSED, _RAISED, -signal.SIGKILL), (code, words)
    return _Done(code, read_told(told), words)


def _act(job: Job, place: Path, said: Path) -> int:
    try:
        job.act(place)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        said.write_text(f"{type(error).__name__}: {error}", "utf-8")
        refused = isinstance(error, LorryError) or getattr(error, "errno", None) in (errno.EIO, errno.ENOSPC)
        return _REFUSED if refused else _RAISED
    return _ACKNOWLEDGED


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def main(what: str, name: str, folder: str, *rest: str) -> None:
    """Do what the command line says."""
    if what == "once":
        JOBS[name].act(Path(folder))
        return
    count, *harms = rest
    for harm in harms:
        sys.stdout.write(json.dumps(sweep(name, Path(folder), int(count), harm)._asdict()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
