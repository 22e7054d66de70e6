"""OCI registries to test against: a strict one that runs everywhere, and Debian's where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.oci_registry import OciRegistry, serve

PROGRAM = shutil.which("docker-registry")

INSTALLED = pytest.mark.skipif(not PROGRAM, reason="no docker-registry; on Debian: apt-get install docker-registry")

_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: {host}}}
"""


@contextmanager
def strict() -> Iterator[str]:
    """Serve the registry of these tests; yield its host and port."""
    with serve(OciRegistry()) as registry:
        yield registry.host


@contextmanager
def debian(folder: Path, users: str = "") -> Iterator[str]:
    """Run Debian's docker-registry with its data in a folder, for all or for `users`; yield its host and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "data", host=host))
    if users:
        (folder / "users").write_text(users)
        config.write_text(f"{config.read_text()}auth: {{htpasswd: {{realm: test, path: {folder / 'users'}}}}}\n")
    assert PROGRAM
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
        try:
            _wait(host, process, folder / "log")
            yield host
        finally:
            process.terminate()
            process.wait(10)


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        try:
            if httpx2.get(f"http://{host}/v2/").status_code in {200, 401}:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
        assert process.poll() is None, log.read_text()
    raise AssertionError(f"docker-registry does not answer: {log.read_text()}")
