"""Harm from outside: strace refuses the k-th system call of a real process, or kills it there.

What `faults` does from within Python, the kernel does here, to the interpreter itself.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.reliability.faults import Call
from tests.reliability.jobs import AFTER, JOBS

DURABLE = {
    "write": "write", "pwrite64": "write", "copy_file_range": "copy_file_range", "fsync": "fsync", "fdatasync": "fsync",
    "link": "link", "linkat": "link", "rename": "rename", "renameat": "rename", "renameat2": "rename",
    "mkdir": "mkdir", "mkdirat": "mkdir", "unlink": "unlink", "unlinkat": "unlink", "rmdir": "rmdir",
}  # fmt: skip
"""The system calls that change a disk, and what `faults` calls them."""

KILL, EIO, ENOSPC = "signal=SIGKILL", "error=EIO", "error=ENOSPC"
ROOT = Path(__file__).parents[2]
_STRACE = ("strace", "-f", "-q")  # not with --seccomp-bpf, which is quicker: strace 6.1 then sends no signal
_TRACE = "trace=" + ",".join(f"?{name}" for name in DURABLE)
_LINE = re.compile(r"(\d+) +([a-z0-9_]+)\((.*)\) += ")
_PATH = re.compile(r'"([^"]*)"|\d+<([^>]*)>')


@functools.cache
def missing() -> str:
    """Say why strace cannot be used here; "" where it can."""
    if not shutil.which("strace"):
        return "needs strace: apt-get install strace"
    with tempfile.NamedTemporaryFile() as log:
        tried = subprocess.run([*_STRACE, "-o", log.name, "-e", _TRACE, "true"], capture_output=True, check=False)
    return "" if not tried.returncode else f"strace may not trace here (ptrace): {tried.stderr.decode().strip()[:200]}"


needs_strace = pytest.mark.skipif(bool(missing()), reason=missing() or "strace works")


class Traced(NamedTuple):
    """A durable call as the kernel saw it: its thread, the system call's own name, and what it was."""

    thread: str
    name: str
    call: Call


def calls(job: str, folder: Path) -> list[Traced]:
    """Do a prepared job and return its durable calls in order."""
    log = folder.with_name(f"{folder.name}.strace")
    done = _run(job, folder, "-y", "-s", "4", "-o", str(log), "-e", _TRACE)
    assert done.returncode == 0, done.stderr
    found = [_LINE.match(line) for line in log.read_text("utf-8", "replace").splitlines()]
    return [Traced(each[1], each[2], _call(each[2], each[3])) for each in found if each]


def harm(job: str, folder: Path, traced: Sequence[Traced], at: int, what: str) -> bool:
    """Do a prepared job with harm at the `at`-th call (from 0) of `traced`; return whether it was acknowledged."""
    thread, name, _ = traced[at]
    nth = sum((each.thread, each.name) == (thread, name) for each in traced[: at + 1])  # strace counts so
    log = folder.with_name(f"{folder.name}.strace")
    done = _run(job, folder, "-o", str(log), "-e", f"trace={name}", "-e", f"inject={name}:{what}:when={nth}")
    told = log.read_text("utf-8", "replace")
    assert "(INJECTED)" in told or "killed by SIGKILL" in told, f"no harm was done at call {at}, {name}"
    return done.returncode == 0


def judge(job: str, folder: Path, *, acknowledged: bool) -> str:
    """Return how far a job got, and do it again; AssertionError where something is broken or lost."""
    state = JOBS[job].state(folder)
    assert state == AFTER or not acknowledged, f"acknowledged, and lost: it is as {state}"
    JOBS[job].act(folder)
    assert JOBS[job].state(folder) == AFTER, "trying again does not help"
    return state


def _call(name: str, arguments: str) -> Call:
    paths = [quoted or opened for quoted, opened in _PATH.findall(arguments)]
    if name.endswith("at") or name == "renameat2":  # each path follows the folder it is relative to
        paths = [str(Path(folder, path)) for folder, path in zip(paths[::2], paths[1::2], strict=True)]
    two = DURABLE[name] in ("link", "rename")
    what = "rmdir" if "AT_REMOVEDIR" in arguments else DURABLE[name]
    return Call(what, paths[0], paths[1] if two else "")


def _run(job: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-m", "tests.reliability.sweep", "once", job, str(folder)]
    return subprocess.run([*_STRACE, *options, *command], cwd=ROOT, capture_output=True, text=True, check=False)
