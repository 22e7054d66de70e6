"""The real client's calls against the server.

HUB_CLIENTS names Pythons with other versions of huggingface_hub, for example those of two environments made by

    python -m venv one && one/bin/pip install "huggingface_hub<2"
    python -m venv old && old/bin/pip install "huggingface_hub<1"
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_server import HubServer

CLIENT = Path(__file__).with_name("client.py")
OTHERS = [python for python in os.environ.get("HUB_CLIENTS", "").split(os.pathsep) if python]


def calls(python: str, hub: HubServer, folder: Path) -> str:
    """Make every call; return the client's version."""
    done = subprocess.run(
        [python, CLIENT, folder / "work"],
        env={**os.environ, **hub.environment(folder / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    failed = [f"{name}: {found}" for name, passed, found in checks if not passed]
    if failed or not checks or checks[-1][0] != "the end":
        pytest.fail("\n".join([*failed, done.stderr[-2000:]]))
    return str(checks[-1][2])


def test_every_call_of_the_client(hub: HubServer, tmp_path: Path) -> None:
    calls(sys.executable, hub, tmp_path)


@pytest.mark.skipif(not OTHERS, reason="HUB_CLIENTS names no Python with another version of huggingface_hub")
@pytest.mark.parametrize("python", OTHERS)
def test_every_call_of_other_versions_of_the_client(python: str, hub: HubServer, tmp_path: Path) -> None:
    calls(python, hub, tmp_path)
