"""A registry that may only be read: on a disk that is mounted so, which not even root writes to."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from lorry_registry import Registry
from tests.registry.helpers import write_lora
from tests.registry.read_only import READING, WRITING
from tests.reliability.full_disk import ROOT, needs_mount

_MOUNTED = ("unshare", "-rm", "sh", "-c", 'mount -o bind,ro "$0" "$0" && exec "$@"')


@pytest.fixture(scope="module", params=["a cache", "no cache"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shared")
    cat, home = write_lora(folder / "cat.safetensors"), folder / "home"
    registry = Registry(home)
    registry.publish("demo/cat@1.0.0", [cat])
    registry.publish("demo/cat@0.9.0", [write_lora(folder / "old.safetensors", seed=1)])
    registry.yank("demo/cat@0.9.0", "too old")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    (folder / "comfy").mkdir()
    said = {"LORRY_HOME": str(home), "LORRY_CACHE": str(folder / "cache") if request.param == "a cache" else ""}
    command = [*_MOUNTED, str(home), sys.executable, "-m", "tests.registry.read_only", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in said.items():
            patch.setenv(name, value)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_mount
def test_whatever_reads_works(told: dict[str, Any]) -> None:
    for command in map(" ".join, READING):
        code, output = told[command]
        assert code == 0, output
        assert "Read-only file system" not in output


@needs_mount
def test_whatever_writes_says_what_to_do(told: dict[str, Any]) -> None:
    for command in map(" ".join, WRITING):
        code, output = told[command]
        assert code == 1, output
        assert "is read-only for this user" in output, command


@needs_mount
def test_it_is_served(told: dict[str, Any]) -> None:
    served = told["served"]
    own = {"cat.safetensors", "adapter.json", "notes.json"}
    assert {*served["files"]} == {*own, "README.md", "pytorch_lora_weights.safetensors"}
    assert all(served["files"].values())
    assert "too old" in served["notes"]["0.9.0"]
    assert served["history"] == 2
    assert served["written"] == 403
