"""What a person at a terminal sees that a pipe does not: bars while it takes long."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lorry_plugins.backends.toybox import FOLDER

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")


def seen(*arguments: str | Path) -> str:
    """Run lorry with a terminal for stderr and return what it shows there."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "lorry", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=there, env={**os.environ, "TERM": "xterm"}) as run:
        os.close(there)
        told = b""
        try:
            while piece := os.read(here, 1 << 16):
                told += piece
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(here)
    assert run.returncode == 0, told.decode()
    return told.decode()


@pytest.mark.parametrize(("options", "shown"), [([], True), (["-q"], False)])
def test_a_bar_shows_the_bytes_of_a_bake(tmp_path: Path, options: list[str], *, shown: bool) -> None:
    style = FOLDER / "adapters" / "style.safetensors"
    told = seen("bake", "toybox-sd", style, "-o", tmp_path / "baked", *options)
    assert ("baking" in told, "MB" in told) == (shown, shown)


SWALLOWING = """
import os, signal, sys, types

def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    raise ImportError("cannot load module more than once per process")

sys.modules["lorry.cli"] = types.ModuleType("lorry.cli")
sys.modules["lorry.cli"].main = main
from lorry.__main__ import main
main()
"""


def test_an_interruption_that_a_library_swallows_ends_as_one() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "lorry: interrupted; nothing half-written is left\n")


@pytest.mark.parametrize("command", ["plugins", "--help", "identify"])
def test_a_closed_stdout_is_no_error(command: str, tmp_path: Path) -> None:
    words = [command, str(FOLDER / "adapters" / "style.safetensors")] if command == "identify" else [command]
    line = shlex.join([sys.executable, "-m", "lorry", *words]) + " >&-"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S602  our own words
    assert (done.returncode, done.stderr) == (0, "")
