"""Whatever call that changes the disk goes wrong: nothing is broken, nothing acknowledged lost, and a retry works."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.reliability import strace
from tests.reliability.faults import ENOSPC, HARMS
from tests.reliability.jobs import CARELESS, JOBS
from tests.reliability.sweep import BYTES_LOST, CUTS, NAMES_LOST, run

SAMPLES = 3
"""Calls of a job that each harm is done at here; `benchmarks/reliability.py` does it at every one."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, SIGKILL and /proc/self/fd")
PUBLISH = "a publish"


@linux
@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_broken_or_lost_and_trying_again_works(job: str, tmp_path: Path) -> None:
    outcomes = run(job, tmp_path / "sweep", count=SAMPLES)
    assert [outcome.harm for outcome in outcomes] == [*HARMS, *CUTS]
    for outcome in outcomes:
        assert outcome.faults == []
        assert outcome.injected == sum(outcome.states.values()) >= SAMPLES
    assert all(outcome.acknowledged for outcome in outcomes if outcome.harm in CUTS)


@linux
@pytest.mark.parametrize(("job", "cut"), [*zip(CARELESS, (NAMES_LOST, BYTES_LOST), strict=True)])
def test_a_publish_that_does_not_sync_would_be_found_out(job: str, cut: str, tmp_path: Path) -> None:
    (outcome,) = run(job, tmp_path / "sweep", harms=(cut,), count=1)
    assert outcome.faults


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """The start of a publish."""
    (tmp_path / "prepared").mkdir()
    JOBS[PUBLISH].prepare(tmp_path / "prepared")
    return tmp_path / "prepared"


def copy(folder: Path) -> Path:
    target = folder.with_name("copy")
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


@strace.needs_strace
def test_the_kernel_sees_the_calls_that_harm_is_done_at(prepared: Path, tmp_path: Path) -> None:
    (outcome,) = run(PUBLISH, tmp_path / "sweep", harms=(ENOSPC,), count=1)
    seen = [each.call.name for each in strace.calls(PUBLISH, copy(prepared))]
    assert [name for name in outcome.calls if name != "create"] == seen


@strace.needs_strace
def test_bytes_are_synced_before_they_get_a_name_and_the_name_before_the_next_step(prepared: Path) -> None:
    calls = [each.call for each in strace.calls(PUBLISH, copy(prepared))]
    named = [at for at, call in enumerate(calls) if call.name in ("link", "rename")]
    assert [Path(calls[at].target).parent.name for at in named][2:] == ["versions", "aliases", "aliases"]
    for at, following in zip(named, [*named[1:], len(calls)], strict=True):
        syncs = [call.path for call in calls[:at] if call.name == "fsync"]
        assert calls[at].path in syncs, "its bytes are on the disk before it has this name"
        syncs = [call.path for call in calls[at:following] if call.name == "fsync"]
        assert str(Path(calls[at].target).parent) in syncs, "the name is on the disk before the next one is given"


@strace.needs_strace
@pytest.mark.parametrize("what", [strace.KILL, strace.EIO, strace.ENOSPC])
def test_the_kernel_may_do_the_harm(prepared: Path, what: str) -> None:
    calls = strace.calls(PUBLISH, copy(prepared))
    first = [strace.KILL, strace.EIO, strace.ENOSPC].index(what)
    states = set()
    for at in range(4 + first, len(calls), len(calls) // 3):
        folder = copy(prepared)
        acknowledged = strace.harm(PUBLISH, folder, calls, at, what)
        states.add(strace.judge(PUBLISH, folder, acknowledged=acknowledged))
    assert len(states) > 1, "harm came before and after the version stood"
