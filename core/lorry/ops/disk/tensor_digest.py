"""An identity of weights that does not depend on the file they stand in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lorry.ir.tensor import TensorRef, reading
from lorry.ops.bases.files import base_files, read_weights
from lorry.ops.reading.sources import sources
from lorry.plugin.host import Host, host

_CHUNK = 1 << 20


def tensor_digest(tensors: Mapping[str, TensorRef]) -> str:
    """Return "blake3:…" over the tensors, whatever the order, header or metadata of their file.

    Hashed is, for each key in the order of its UTF-8 bytes, the line `["key","dtype",[shape]]` in canonical
    JSON (RFC 8785) with a newline, and then the tensor's bytes, little-endian and row-major. BLAKE3, since a publish
    has hashed the same bytes with sha256 already, and this one costs a fifth of that.
    """
    from blake3 import blake3

    digest, buffer = blake3(), memoryview(bytearray(_CHUNK))
    with reading() as read:
        for key in sorted(tensors, key=str.encode):
            ref = tensors[key]
            line = json.dumps([key, ref.dtype, ref.shape], ensure_ascii=False, separators=(",", ":"))
            digest.update(f"{line}\n".encode())
            for source, start, stop in ref.segments:
                for at in range(start, stop, _CHUNK):
                    piece = buffer[: min(_CHUNK, stop - at)]
                    read(source, at, piece)
                    digest.update(piece)
    return f"blake3:{digest.hexdigest()}"


def digest_of(path: Path, plugins: Host | None = None) -> str:
    """Return the tensor digest of what lorry wrote at `path`: an adapter, or a base model in a file or folder.

    Keys of a base in a folder begin with the name of their component, so that division into shards makes no difference.
    """
    plugins = plugins or host()
    parts = list(base_files(path)) if path.is_dir() else []
    if any(part for part, _ in parts):
        held = {
            f"{part}.{key}": ref
            for part, files in parts
            for file in files
            for key, ref in read_weights(file, plugins).tensors.items()
        }
        return tensor_digest(held)
    return tensor_digest(sources((path,), plugins)[0].source.tensors)
