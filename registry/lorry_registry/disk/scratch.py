"""A folder beside a home that cannot be written to: what is made to be read is made there.

In LORRY_CACHE it stays, and may be deleted at any time; where that cannot be written to either it is a temporary
folder, which goes with the process.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from lorry.ops.disk.known import cache_folder


def scratch_folder(home: Path) -> Path:
    """Return the folder for what is made of a home."""
    if cached := cache_folder():
        folder = cached / "registries" / hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return _temporary(home)


@cache
def _temporary(_: Path) -> Path:
    folder = tempfile.mkdtemp(prefix="lorry-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
