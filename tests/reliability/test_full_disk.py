"""A disk that is full."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.full_disk import needs_mount, run


@needs_mount
def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    told = run(tmp_path / "disk")
    assert told["acknowledged"] > 10
    assert all("No space left on device" in each for each in told["refused"])
    assert told["drafts left"] == 0
