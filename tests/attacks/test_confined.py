"""The room of limited means: whatever happens in there is an answer or an error here, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

import lorry
from lorry.ops.judging import validate as validating
from lorry.ops.judging.confined import Exhausted, Means, confined

from .attack import MARKER
from .pickles import PICKLES

pytest.importorskip("resource", reason="this platform limits the time alone")

ROOT = Path(__file__).parents[2]
LITTLE = Means(memory=1 << 30, cpu_seconds=1, seconds=3)

ENDS = {
    "crash": "crashed: Segmentation fault",
    "end": "crashed, with exit code 3",
    "hold_memory": "more than 1,024 MiB of memory",
    "work_for_ever": "more than 1 seconds of the processor",
    "sleep_for_ever": "more than 3 seconds",
    "say_rubbish": "gave no answer",
}


@pytest.fixture(autouse=True)
def _among_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("what", ENDS)
def test_what_ends_badly_in_there_is_an_error_here(what: str) -> None:
    with pytest.raises(Exhausted, match=ENDS[what]):
        confined(f"tests.attacks.hostile:{what}", [], LITTLE)


def test_nothing_can_be_written(tmp_path: Path) -> None:
    assert "File too large" in confined("tests.attacks.hostile:write", [], LITTLE)
    assert not (tmp_path / MARKER).exists() or not (tmp_path / MARKER).stat().st_size


def test_no_token_is_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    names = confined("tests.attacks.hostile:look_around", [], LITTLE)
    assert "HF_TOKEN" not in names
    assert "PATH" in names


def test_a_reader_that_crashes_is_a_rejected_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PICKLES["a tensor"].put(tmp_path)
    assert lorry.validate(path).verdict == "accept"
    monkeypatch.setattr(validating, "_EXAMINE", "tests.attacks.hostile:crash")
    told = lorry.validate(path)
    assert told.verdict == "reject"
    assert "crashed" in told.findings[0].what
