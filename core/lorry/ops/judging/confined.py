"""A room for files that are programs: a process of its own, with little memory and time and nothing to write to.

What is called there gets and gives JSON, so that even a reader that a file has taken over can send back no more than
text. The process inherits neither the environment (tokens stand there) nor, unless it is to write one, the right to
write files, and ends when its time is up. Where the platform has no `resource` module (Windows) only the time is
limited, by the clock; macOS has no limit of memory.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from lorry.errors import LorryError

_KEPT = (
    "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "LANG", "XDG_DATA_HOME", "XDG_CONFIG_HOME",
    "APPDATA", "LOCALAPPDATA", "VIRTUAL_ENV",
)  # fmt: skip
_KEPT_FAMILIES = ("LORRY_", "LC_", "PYTHON")


class Exhausted(LorryError):
    """The process ended before it gave an answer: it crashed, or its means were at an end."""


class Means(NamedTuple):
    """What the process may use: bytes of memory, seconds of its own time and of the clock's, bytes in each file."""

    memory: int
    cpu_seconds: int
    seconds: int
    written: int = 0


def means_for(nbytes: int) -> Means:
    """Return what reading this many bytes may take, several times over."""
    seconds = 20 + nbytes // (50 << 20)
    return Means(memory=(1 << 30) + 3 * nbytes, cpu_seconds=seconds, seconds=60 + 4 * seconds)


def confined(function: str, arguments: list[Any], means: Means) -> Any:  # noqa: ANN401  whatever JSON holds
    """Call "module:function" in a process of its own and return its answer; raise Exhausted where there is none."""
    command = [sys.executable, "-P", "-B", "-m", "lorry.ops.judging.confined"]
    asked = json.dumps({"function": function, "arguments": arguments, "means": means})
    environment = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_FAMILIES)
    }
    try:
        done = subprocess.run(  # noqa: S603  this interpreter, this module
            command,
            input=asked.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=means.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Exhausted(f"reading it took more than {means.seconds} seconds") from None
    if done.returncode:
        raise Exhausted(_ended(done.returncode, means))
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Exhausted("reading it gave no answer") from None


def _ended(code: int, means: Means) -> str:
    if code == _OUT_OF_MEMORY:
        return f"reading it took more than {means.memory >> 20:,} MiB of memory"
    import signal

    if code == -getattr(signal, "SIGXCPU", 0):
        return f"reading it took more than {means.cpu_seconds} seconds of the processor"
    if code < 0:
        return f"reading it crashed: {signal.strsignal(-code) or f'signal {-code}'}"
    return f"reading it crashed, with exit code {code}"


_OUT_OF_MEMORY = 97
"""The exit code of a process whose memory is at an end; no other use."""


def _limit(means: Means) -> None:
    try:
        import resource
    except ImportError:
        return
    for limit, most in (
        (resource.RLIMIT_AS, means.memory),
        (resource.RLIMIT_CPU, means.cpu_seconds),
        (resource.RLIMIT_FSIZE, means.written),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(limit, (allowed, hard))


def _main() -> None:
    asked = json.load(sys.stdin)
    _limit(Means(*asked["means"]))
    module, _, name = asked["function"].partition(":")
    try:
        answer = json.dumps(getattr(importlib.import_module(module), name)(*asked["arguments"]))
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    sys.stdout.write(answer)


if __name__ == "__main__":
    _main()
