"""The real client's calls against the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_server import hub_server

CLIENT = Path(__file__).with_name("client.py")


def test_every_call_of_the_client(tmp_path: Path) -> None:
    with hub_server(tmp_path / "home") as hub:
        done = subprocess.run(
            [sys.executable, CLIENT, tmp_path / "work"],
            env={**os.environ, **hub.environment(tmp_path / "hf")},
            capture_output=True,
            text=True,
            check=False,
        )
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    failed = [f"{name}: {found}" for name, passed, found in checks if not passed]
    if failed or not checks or checks[-1][0] != "the end":
        pytest.fail("\n".join([*failed, done.stderr[-2000:]]))
