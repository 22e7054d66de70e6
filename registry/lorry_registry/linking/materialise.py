"""Making a file of a blob's bytes in the way that takes the least: sharing its blocks, its file, or by a copy."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from lorry_registry.disk import durable
from lorry_registry.home.blobs import copy, measure
from lorry_registry.home.store import LocalStore
from lorry_registry.linking.note import HARD
from lorry_registry.linking.plan import Planned

_FICLONE = 0x40049409
"""linux/fs.h: share the blocks of another file."""


def materialise(store: LocalStore, file: Planned, draft: Path, *, copied: bool) -> str:
    """Make a file of these bytes, in the way that takes the least, never a hard link if `copied`; return which."""
    if file.made:
        copy(file.made, draft)
        return ""
    blob = store.blobs.path(file.content.sha256)
    if _clone(blob, draft):
        if measure(draft) == file.content:
            return "clone"
        draft.unlink()
    if not (copied or blob.is_symlink()):  # a link to what somebody may change would change with it
        store.blobs.verify(file.content)
        with suppress(OSError):
            os.link(blob, draft)
            return HARD
    store.blobs.copy(file.content, draft)
    return "copy"


def _clone(source: Path, target: Path) -> bool:
    """Make a file that shares the blocks of another; return whether the disk can (btrfs, XFS)."""
    if sys.platform != "linux":
        return False
    import fcntl

    with suppress(FileNotFoundError), source.open("rb") as reader, durable.open_new(target) as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            target.unlink()
            return False
        return True
    return False
