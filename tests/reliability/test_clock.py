"""Clocks that are wrong: what is first, what is highest and what is garbage is never told by a clock of ours."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lorry_registry import Registry
from lorry_registry.references.semver import Version
from tests.registry.helpers import write_lora
from tests.reliability.jobs import CAT, LONG_AGO, assert_sound

DAY = 24 * 3600
YEARS = 3650 * DAY


@pytest.fixture(params=[-YEARS, -DAY, DAY, YEARS], ids=["years behind", "a day behind", "a day ahead", "years ahead"])
def skew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Let the clock of this process be wrong; the disk keeps its own."""
    real, skewed = time.time, float(request.param)
    gmtime = time.gmtime
    monkeypatch.setattr(time, "time", lambda: real() + skewed)
    monkeypatch.setattr(time, "gmtime", lambda seconds=None: gmtime(real() + skewed if seconds is None else seconds))
    return skewed


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry of two versions."""
    registry = Registry(tmp_path / "home")
    for minor in range(2):
        file = write_lora(tmp_path / f"{minor}.safetensors", seed=minor)
        registry.publish(f"demo/cat@1.{minor}.0", [file])
    assert registry.ls()
    return registry


def test_versions_and_the_log_stay_in_order(registry: Registry, skew: float, tmp_path: Path) -> None:
    registry.publish("demo/cat@1.2.0", [write_lora(tmp_path / "2.safetensors", seed=2)])
    history = [entry for entry in registry.store.records(CAT).log.history() if entry["event"] == "publish"]
    assert [entry["version"] for entry in history] == ["1.0.0", "1.1.0", "1.2.0"]
    assert (history[-1]["time"] > history[0]["time"]) is (skew > 0), "the clock was wrong"
    assert registry.resolve("demo/cat").reference.exact() == Version(1, 2, 0)
    assert [entry.reference.exact().minor for entry in registry.ls()] == [0, 1, 2]
    assert_sound(registry)


@pytest.mark.usefixtures("skew")
def test_garbage_is_told_by_the_clock_of_the_disk(registry: Registry) -> None:
    old, new = (registry.store.blobs.path(registry.store.blobs.add_bytes(data)) for data in (b"old", b"new"))
    os.utime(old, (LONG_AGO, LONG_AGO))
    assert [each.path for each in registry.gc()] == [old]
    assert new.exists()


@pytest.mark.parametrize("skewed", [-DAY, DAY])
def test_the_index_notices_versions_that_a_disk_dates_wrong(registry: Registry, skewed: float, tmp_path: Path) -> None:
    for minor in range(2, 5):
        registry.publish(f"demo/cat@1.{minor}.0", [write_lora(tmp_path / f"{minor}.safetensors", seed=minor)])
        folder = registry.home / "names/demo/cat/versions"
        os.utime(folder, (time.time() + skewed * minor, time.time() + skewed * minor))
        assert [entry.reference.exact().minor for entry in registry.ls()] == list(range(minor + 1))
