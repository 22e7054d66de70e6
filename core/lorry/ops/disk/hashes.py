"""The hashes by which the field knows a file, all of them in one pass over it.

Rules: A1111 modules/hashes.py and extensions-builtin/Lora/network.py; sd-scripts library/train_util.py,
`precalculate_safetensors_hashes`; Civitai's API, which names the AutoV hashes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.ir.file_source import FileSource
from lorry.ops.disk.known import known

_CHUNK = 1 << 20
_OLD = 0x100000, 0x110000
"""The bytes A1111 hashed in 2022: 64 KiB after the first MiB, so that every smaller file has the hash of nothing."""


class Hashes(NamedTuple):
    """The hashes of one file, in lower-case hexadecimal.

    sha256, blake3, crc32: of the whole file. autov1: 8 digits, of 64 KiB after the first MiB. autov3: of a
    safetensors file's tensors, all that follows its header; "" for other files.
    """

    sha256: str
    blake3: str
    crc32: str
    autov1: str
    autov3: str

    @property
    def autov2(self) -> str:
        """First 10 digits of the sha256, as in the names of checkpoints."""
        return self.sha256[:10]

    @property
    def shorthash(self) -> str:
        """First 12 digits of AutoV3, as A1111 and Forge write them into pictures."""
        return self.autov3[:12]

    def named(self) -> dict[str, str]:
        """Return all of them by the names the field uses; those that the file has none of are left out."""
        found = {
            "SHA256": self.sha256,
            "AutoV1": self.autov1,
            "AutoV2": self.autov2,
            "AutoV3": self.autov3,
            "A1111 short": self.shorthash,
            "BLAKE3": self.blake3,
            "CRC32": self.crc32,
        }
        return {name: digits for name, digits in found.items() if digits}


def known_hashes(path: Path) -> Hashes:
    """Return the hashes of a file as `hash_file` does, from an earlier time where the file is what it was then."""
    return Hashes(**json.loads(known(path, "hashes", lambda: json.dumps(hash_file(path)._asdict()))))


def hash_file(path: Path) -> Hashes:
    """Hash a file, 1 MiB at a time; raise NotFound or InvalidFile where it cannot be read to its end."""
    from blake3 import blake3

    source = FileSource.open(path)
    body = _body(source)
    whole, old, tensors, tree, crc = hashlib.sha256(), hashlib.sha256(), hashlib.sha256(), blake3(), 0
    for at, piece in _pieces(source, 0, source.size):
        whole.update(piece)
        tree.update(piece)
        crc = zlib.crc32(piece, crc)
        old.update(piece[max(_OLD[0] - at, 0) : max(_OLD[1] - at, 0)])
        if body is not None:
            tensors.update(piece[max(body - at, 0) :])
    return Hashes(
        sha256=whole.hexdigest(),
        blake3=tree.hexdigest(),
        crc32=f"{crc:08x}",
        autov1=old.hexdigest()[:8],
        autov3=tensors.hexdigest() if body is not None else "",
    )


def sshs_legacy_hash(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Return what sd-scripts writes as sshs_legacy_hash for the tensors of a safetensors file and this metadata.

    It is AutoV1 of the same file with no metadata but ss_*, whose order is not told: None where the hashed bytes
    would begin in such a header.
    """
    source = FileSource.open(path)
    body = _body(source)
    if body is None:
        return None
    entries = json.loads(source.read(8, body - 8))
    entries["__metadata__"] = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    length = len(json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode())
    moved = body - (8 + length + -length % 8)
    if _OLD[0] + moved < body:
        return None
    digest = hashlib.sha256()
    for _, piece in _pieces(source, _OLD[0] + moved, min(_OLD[1] + moved, source.size)):
        digest.update(piece)
    return digest.hexdigest()[:8]


def _body(source: FileSource) -> int | None:
    """Return where the tensors of a safetensors file begin, None for other files."""
    head = source.read(0, 9)
    start = 8 + int.from_bytes(head[:8], "little")
    return start if head[8:] == b"{" and start <= source.size else None


def _pieces(source: FileSource, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the bytes of a range with the place of each piece."""
    buffer = memoryview(bytearray(min(_CHUNK, max(stop - start, 0))))
    for at in range(start, stop, _CHUNK):
        piece = buffer[: min(_CHUNK, stop - at)]
        source.read_into(at, piece)
        yield at, piece
