"""What OCI calls a repository: blobs by digest, and tags that stand for manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol


class Repository(Protocol):
    """A repository in a registry, or in a bundle; nothing that it returns is checked by it. str() says where it is."""

    def blob_size(self, sha256: str) -> int | None:
        """Return the bytes of a blob, None where it is not there."""
        ...

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a blob from `start` on; raise NotFound where it is not there."""
        ...

    def upload(self, sha256: str, size: int, open_: Callable[[], BinaryIO]) -> None:
        """Put a blob there, whole or not at all."""
        ...

    def tags(self) -> Iterable[str]:
        """Return every tag, of which there are none where there is no such repository."""
        ...

    def manifest(self, tag: str) -> bytes | None:
        """Return what a tag stands for, None where there is none."""
        ...

    def tag(self, tag: str, manifest: bytes) -> None:
        """Let a tag stand for a manifest."""
        ...
