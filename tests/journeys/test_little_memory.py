"""What needs more memory than there is ends with one line, and leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.files import KOHYA, write

resource = pytest.importorskip("resource", reason="Windows limits no process's memory")

_LIMIT = 2 << 30
"""Room for torch, and not for a matrix of 20,000 x 20,000."""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT, _LIMIT))


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    side = 20_000
    tensors = {
        f"{KOHYA}.lora_down.weight": torch.zeros(1, side, dtype=torch.float16),
        f"{KOHYA}.lora_up.weight": torch.zeros(side, 1, dtype=torch.float16),
    }
    wide = write(tmp_path / "wide.safetensors", tensors)
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "lorry", "merge", str(wide), str(wide), "--method", "ties", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_limit)
    assert (done.returncode, "not enough memory" in done.stderr) == (1, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["wide.safetensors"]
