"""A disk that is really full: a small one is mounted, in a mount namespace of its own, and published to until it is.

python -m tests.reliability.full_disk FOLDER    one JSON object of what came of it
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import LorryError
from lorry_registry import PublishIncomplete, Registry
from lorry_registry.references.semver import Version
from tests.registry.helpers import write_lora
from tests.reliability.jobs import CAT, assert_sound

SIZE = "1m"
ROOT = Path(__file__).parents[2]
_MOUNTED = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"')
"""Goes before the size of a disk, the folder it is mounted at, and the command that sees it; nobody else does."""


@functools.cache
def missing() -> str:
    """Say why no disk can be mounted here; "" where one can."""
    if not shutil.which("unshare"):
        return "needs unshare (util-linux) and a Linux kernel"
    tried = subprocess.run([*_MOUNTED, "4k", tempfile.gettempdir(), "true"], capture_output=True, check=False)
    return "" if not tried.returncode else "needs user namespaces that may mount"


needs_mount = pytest.mark.skipif(bool(missing()), reason=missing() or "a disk can be mounted")


def run(folder: Path) -> dict[str, Any]:
    """Fill a disk mounted at `folder` and return what came of it."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.reliability.full_disk", str(folder)]
    done = subprocess.run(
        [*_MOUNTED, SIZE, str(folder), *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def fill(folder: Path) -> dict[str, Any]:
    """Publish until the disk is full, go on for a while, make room, and publish again."""
    registry, ballast = Registry(folder / "home"), folder / "ballast"
    ballast.write_bytes(bytes(100_000))
    source = folder / "new.safetensors"
    acknowledged: set[Version] = set()
    refused: list[str] = []
    while len(refused) < 12:
        version = Version(1, len(acknowledged) + len(refused), 0)
        source.unlink(missing_ok=True)
        write_lora(source, seed=version.minor)
        error = _publish(registry, version, source)
        stands = version in registry.store.records(CAT).versions()
        assert stands is (error is None or isinstance(error, PublishIncomplete)), f"it lied: {error}"
        if error is None:
            acknowledged.add(version)
        else:
            refused.append(str(error))
    assert_sound(registry)
    assert acknowledged <= set(registry.versions("demo/cat"))
    drafts = len(list(registry.store.layout.drafts.iterdir()))
    ballast.unlink()
    registry.publish("demo/cat@2.0.0", [source])
    registry.verify("demo/cat@2.0.0")
    assert registry.aliases("demo/cat") == {"latest": Version(2, 0, 0)}
    return {"acknowledged": len(acknowledged), "refused": refused, "drafts left": drafts}


def _publish(registry: Registry, version: Version, source: Path) -> LorryError | None:
    try:
        registry.publish(f"demo/cat@{version}", [source])
    except LorryError as error:
        return error
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fill(Path(sys.argv[1]))))
