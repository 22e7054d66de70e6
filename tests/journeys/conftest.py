"""The command line, run in this process: a process of its own for each would cost a second."""

from __future__ import annotations

import atexit
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lorry.cli import main


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr; click ends the line of a ^C before it."""
        (line,) = self.err.strip().splitlines()
        return line


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lorry` with some arguments, errors and exit code as on a terminal."""
    monkeypatch.setattr(atexit, "register", lambda function: function)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["lorry", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, told.out, told.err)

    return run
