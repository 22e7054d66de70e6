"""Processes killed at random, and many at once on one registry: what was acknowledged stands, one of many is first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.crowd import LOST_RACE, run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    told = run("kills", tmp_path, 24)
    assert told["killed"] == 24
    assert told["acknowledged"] >= 12, "every other pair was killed only after an acknowledgement"


def test_of_16_publishers_of_one_version_exactly_one_wins(tmp_path: Path) -> None:
    told = run("version", tmp_path, 16)
    assert sorted(told["codes"]) == [0, *[LOST_RACE] * 15]
    assert told["published"] == f"{told['codes'].index(0)}.safetensors"


def test_16_who_move_one_alias_leave_it_whole_and_the_log_too(tmp_path: Path) -> None:
    told = run("alias", tmp_path, 16)
    assert told["codes"] == [0] * 16
    assert told["aliases"]["latest"] == "2.15.0"
    assert told["aliases"]["best"].startswith("2.")
    assert (told["moves"], told["torn"]) == (17, 0), "one before, and one each"


def test_16_who_yank_and_unyank_leave_one_note_of_theirs(tmp_path: Path) -> None:
    told = run("notes", tmp_path, 16)
    assert told["codes"] == [0] * 16
    assert told["torn"] == 0
    assert told["note"] is None or told["note"].startswith("reason")


def test_garbage_collected_beside_publishers_takes_nothing_of_theirs(tmp_path: Path) -> None:
    told = run("collect", tmp_path, 5)
    assert told["codes"] == [0] * 5
    assert told["versions"] == 25
    assert told["collected"]
