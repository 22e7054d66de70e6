"""What every test stands on: no network, a home of its own, and one thread of arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports torch or huggingface_hub: both read these once. Tests come in parallel, so a model that
# is toy-sized gains nothing from more threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty LORRY_HOME and LORRY_CACHE, and none of the caller's LORRY_ settings."""
    for name in [name for name in os.environ if name.startswith("LORRY_")]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("lorry") / "home"
    monkeypatch.setenv("LORRY_HOME", str(folder))
    monkeypatch.setenv("LORRY_CACHE", str(folder.with_name("cache")))
    return folder
