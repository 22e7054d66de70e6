"""What a reader that a file has taken over might do; called in the room of limited means by test_confined."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .attack import MARKER


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def end() -> None:
    os._exit(3)


def hold_memory() -> None:
    bytearray(1 << 33)


def work_for_ever() -> None:
    while True:
        pass


def sleep_for_ever() -> None:
    signal.pause()


def write() -> str:
    try:
        Path(MARKER).write_text("a")
    except OSError as error:
        return str(error)
    return "written"


def say_rubbish() -> None:
    os.write(1, b"{]")


def look_around() -> list[str]:
    return sorted(os.environ)
