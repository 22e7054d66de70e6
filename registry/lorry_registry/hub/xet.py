"""Uploads by xet: chunks that a client on this machine leaves in a folder, put together here.

With hf_xet installed, huggingface_hub sends large files by xet alone. A server there is another machine with a
protocol of its own; but where the address of that server is `local:///folder`, hf_xet keeps its chunks in the folder.
So a client of the same user on the same machine can upload; others set HF_HUB_DISABLE_XET=1 and send plain LFS.
"""

from __future__ import annotations

import importlib.util
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, measure
from lorry_registry.home.store import LocalStore

_RECORD = 48
_END = b"\xff" * 32
_HAS_VERIFICATION, _HAS_SHA256 = 1 << 31, 1 << 30
_LIFETIME = 3600


def available() -> bool:
    """Tell whether hf_xet is installed."""
    return importlib.util.find_spec("hf_xet") is not None


class _File(NamedTuple):
    """How xet calls a file, and its bytes."""

    name: str
    size: int


class XetArea:
    """The folder that clients leave chunks in: no commit relies on it once it is made, and `close` takes it away."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._folder: Path | None = None
        self._kept = ExitStack()

    def close(self) -> None:
        """Take the folder away."""
        self._kept.close()

    def access(self) -> dict[str, str]:
        """Return what the protocol tells a client that wants to upload."""
        if self._folder is None:
            # A new name each time that a server runs: clients remember which chunks are at an address.
            self._store.layout.prepare()
            self._folder = self._kept.enter_context(durable.draft(self._store.layout.drafts))
            self._folder.mkdir()
        return {
            "X-Xet-Cas-Url": f"local://{self._folder}",
            "X-Xet-Access-Token": "local",
            "X-Xet-Token-Expiration": str(int(time.time()) + _LIFETIME),
        }

    def fetch(self, sha256: str) -> bool:
        """Make a blob of a file that was uploaded so; return whether it was, and is what it was said to be."""
        found = self._find(sha256)
        if self._folder is None or found is None:
            return False
        import hf_xet

        with durable.draft(self._store.layout.drafts) as draft:
            group = hf_xet.XetSession().new_file_download_group(endpoint=f"local://{self._folder}", token="local")  # noqa: S106  no secret
            with group:
                group.start_download_file(hf_xet.XetFileInfo(found.name, found.size), str(draft))
            if measure(draft).sha256 != sha256:
                return False
            draft.chmod(durable.READ_ONLY)
            durable.sync_file(draft)
            self._store.blobs.add(draft, Content(sha256, found.size))
        return True

    def _find(self, sha256: str) -> _File | None:
        shards = sorted(self._folder.rglob("shards/*.mdb")) if self._folder else []
        return next((file for shard in shards for told, file in _files(shard.read_bytes()) if told == sha256), None)


def _files(shard: bytes) -> Iterator[tuple[str, _File]]:
    """Yield the sha256 and the name of every file in a shard (github.com/huggingface/xet-core, mdb_shard).

    After a header come, for each file, a record with its name, flags and number of segments; a record for each
    segment, with its bytes; as many again where they can be verified; and one with the sha256 where it is known.
    """
    at = _RECORD
    while at + _RECORD <= len(shard) and shard[at : at + 32] != _END:
        name = _text(shard[at : at + 32])
        flags, count = struct.unpack_from("<II", shard, at + 32)
        segments = range(at + _RECORD, at + _RECORD * (count + 1), _RECORD)
        if at + _RECORD * (count + 1) > len(shard):
            return
        size = sum(struct.unpack_from("<I", shard, each + 36)[0] for each in segments)
        at += _RECORD * (1 + count * (2 if flags & _HAS_VERIFICATION else 1))
        if flags & _HAS_SHA256:
            yield _text(shard[at : at + 32]), _File(name, size)
            at += _RECORD


def _text(digest: bytes) -> str:
    """Write 32 bytes as xet does: four little-endian numbers, each in hexadecimal."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", digest.ljust(32, b"\0")))
