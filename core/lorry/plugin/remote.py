"""A remote: the versions of one adapter in another place, such as a shared folder or a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol


class Remote(Protocol):
    """What a registry asks of a place that holds versions of one adapter for many people.

    Blobs are bytes named by their sha256; a manifest is one of them. Whatever is read is checked by the caller.
    Every method raises UpstreamFailed where the place does not do its part, and AccessDenied where it refuses.
    """

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a blob, None where it is not there."""
        ...

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes of a blob from `start` on; raise NotFound where it is not there."""
        ...

    def write(self, sha256: str, path: Path) -> None:
        """Put the file's bytes there as a blob, whole or not at all; one of that name is replaced."""
        ...

    def versions(self) -> Iterable[str]:
        """Return the versions there are, in any order."""
        ...

    def manifest(self, version: str) -> str | None:
        """Return the sha256 of a version's manifest, None where there is no such version."""
        ...

    def publish(self, version: str, sha256: str) -> bool:
        """Make a version of a manifest whose blobs are all written, unless the version is there.

        Return whether it was made now: of many who try at once exactly one is told so.
        """
        ...

    def aliases(self) -> Mapping[str, str]:
        """Return what each alias stands for."""
        ...

    def move(self, alias: str, before: str | None, after: str) -> bool:
        """Point an alias at another version if it stands for `before` still; return whether it did."""
        ...

    def notes(self) -> Mapping[str, bytes]:
        """Return the notes on versions (yanked, deprecated), each as it was written; most versions have none."""
        ...

    def say(self, version: str, before: bytes | None, after: bytes) -> bool:
        """Put a note on a version in place of `before`, None where there was none; return whether it was put.

        A note that was changed meanwhile stays. Of many who are first to write one, exactly one is told so.
        """
        ...
