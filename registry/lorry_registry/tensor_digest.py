"""An identity of weights that does not depend on the file they stand in."""

from __future__ import annotations

from collections.abc import Mapping

from lorry.ir import TensorRef
from lorry_registry import canonical_json

_CHUNK = 1 << 20


def tensor_digest(tensors: Mapping[str, TensorRef]) -> str:
    """Return "blake3:…" over the tensors, whatever the order, header or metadata of their file.

    Hashed is, for each key in the order of its UTF-8 bytes, the line `["key","dtype",[shape]]` in canonical
    JSON with a newline, and then the tensor's bytes, little-endian and row-major. BLAKE3, since a publish
    has hashed the same bytes with sha256 already, and this one costs a fifth of that.
    """
    from blake3 import blake3

    digest, buffer = blake3(), memoryview(bytearray(_CHUNK))
    for key in sorted(tensors, key=str.encode):
        ref = tensors[key]
        digest.update(canonical_json.dump([key, ref.dtype, ref.shape]) + b"\n")
        for source, start, stop in ref.segments:
            for at in range(start, stop, _CHUNK):
                piece = buffer[: min(_CHUNK, stop - at)]
                source.read_into(at, piece)
                digest.update(piece)
    return f"blake3:{digest.hexdigest()}"
