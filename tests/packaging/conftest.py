"""Installing a plugin distribution where one test sees it, and running the command line there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return a function that builds a distribution, offline, into a folder of its own, and returns that folder."""

    def build(project: Path) -> Path:
        folder = tmp_path_factory.mktemp("installed")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(project)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return folder

    return build


@pytest.fixture
def run_lorry(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `lorry` in a fresh interpreter, with the distributions of a folder installed."""

    def run(*arguments: str | Path, installed: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lorry", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(installed)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
