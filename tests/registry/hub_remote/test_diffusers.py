"""What is pushed to the Hub, loaded by diffusers itself as people load it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.hub_server import hub_server

SCRIPT = Path(__file__).with_name("loading.py")


def test_diffusers_loads_it_by_name_tag_and_commit_and_without_a_network(tmp_path: Path) -> None:
    with hub_server(tmp_path / "hub") as hub:
        done = subprocess.run(
            [sys.executable, SCRIPT, tmp_path / "work"],
            env={**os.environ, **hub.environment(tmp_path / "hf")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert [what for what, right in told.items() if not right] == []
    assert len(told) == 6
