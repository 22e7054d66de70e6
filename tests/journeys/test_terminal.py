"""What a person at a terminal sees that a pipe does not: bars while it takes long."""

from __future__ import annotations

import os
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
