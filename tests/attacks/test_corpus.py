"""Every attack gets the answer that stands beside it, through the reader and through the command line.

Nothing in a file ever runs, and no answer takes more than two seconds of the processor and 500 MB of memory beyond
what it takes to start.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import lorry

from .attack import MARKER, Attack
from .contents import CONTENTS
from .corpus import CORPUS
from .pickles import PROGRAMS, register

CPU_SECONDS = 2.0
MEMORY = 500_000_000

ENTRIES = [pytest.param(each, id=f"{room}-{name}") for room, table in CORPUS.items() for name, each in table.items()]

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copied, links and pipes")


@posix
@pytest.mark.parametrize("attack", ENTRIES)
def test_opening_it_ends_as_the_table_says(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = attack.put(tmp_path)
    if attack.error is None:
        assert lorry.open(path).origin
    else:
        with pytest.raises(attack.error, match=attack.says) as told:
            lorry.open(path)
        assert type(told.value) is attack.error
    assert not Path(MARKER).exists()


@posix
@pytest.mark.parametrize("room", CORPUS)
def test_the_command_line_ends_as_the_table_says(room: str, tmp_path: Path) -> None:
    table = CORPUS[room]
    for at in range(len(table)):
        (tmp_path / str(at)).mkdir()
    paths = [each.put(tmp_path / str(at)) for at, each in enumerate(table.values())]
    start, *answers = measure(tmp_path, [["--version"], *(["validate", "--json", str(path)] for path in paths)])
    wrong = {
        name: said
        for (name, attack), answer in zip(table.items(), answers, strict=True)
        if (said := "; ".join(_differences(attack, answer, start)))
    }
    assert not wrong
    assert not list(tmp_path.rglob(MARKER))


def _differences(attack: Attack, answer: Mapping[str, Any], start: Mapping[str, Any]) -> list[str]:
    """Say where an answer is not what the table wants."""
    text = answer["out"]
    if not text.startswith("{"):
        return [text]
    told, _ = json.JSONDecoder().raw_decode(text)
    found = []
    if (told["verdict"], answer["code"]) != (attack.verdict, 8 if attack.verdict == "reject" else 0):
        found.append(f"{told['verdict']}, exit code {answer['code']}: {told['findings'][:2]}")
    if attack.says and not any(
        re.search(attack.says, each["what"]) for each in told["findings"] if each["level"] == attack.verdict
    ):
        found.append(f"it says {told['findings'][:2]}")
    if told["verdict"] != max(["accept", *(each["level"] for each in told["findings"])], key=LEVELS.index):
        found.append("its verdict is not the worst of its findings")
    if answer["cpu"] - start["cpu"] > CPU_SECONDS:
        found.append(f"it took {answer['cpu'] - start['cpu']:.1f} seconds")
    if answer["memory"] - start["memory"] > MEMORY:
        found.append(f"it took {answer['memory'] / 1e6:.0f} MB")
    return found


LEVELS = ["accept", "warn", "reject"]


def measure(folder: Path, commands: list[list[str]]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.attacks.measured"]
    done = subprocess.run(
        command,
        input=json.dumps(commands),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@posix
def test_no_command_lets_a_bomb_go_off(tmp_path: Path) -> None:
    commands = []
    for at, attack in enumerate(each for each in CONTENTS.values() if "more than any" in each.says):
        (tmp_path / str(at)).mkdir()
        bomb, out = str(attack.put(tmp_path / str(at))), str(tmp_path / "out")
        commands += [
            ["merge", bomb, bomb, "-o", out],
            ["convert", bomb, "--to", "diffusers", "--lossy", "-o", out],
            ["bake", "toybox-sd", bomb, "-o", out],
            ["diff", bomb, bomb],
        ]
    start, *answers = measure(tmp_path, [["--version"], *commands])
    assert len(answers) >= 4 * 7
    for command, answer in zip(commands, answers, strict=True):
        assert (answer["code"], "more than any model has" in answer["out"]) == (1, True), (command, answer)
        assert answer["cpu"] - start["cpu"] < CPU_SECONDS, command
        assert answer["memory"] - start["memory"] < MEMORY, command
    assert not (tmp_path / "out").exists()


@posix
def test_the_measure_sees_time_and_memory(tmp_path: Path) -> None:
    rows = b",".join([b"0.25"] * 4_000_000)
    (tmp_path / "a.json").write_bytes(b"[[[" + rows + b"]]]")
    start, answer = measure(tmp_path, [["--version"], ["validate", "--json", str(tmp_path / "a.json")]])
    assert answer["cpu"] > start["cpu"] + 0.05
    assert answer["memory"] > start["memory"] + 64_000_000


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_are_live(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own unpickler runs every one of them: the canary would be seen."""
    monkeypatch.chdir(tmp_path)
    register(live=True)
    try:
        with suppress(Exception):
            pickle.loads(PROGRAMS[name])  # noqa: S301  the point of this test
    finally:
        register(live=False)
    assert Path(MARKER).exists()
