"""An OCI registry as a remote: `oci://host[:port]/prefix`, with a repository `prefix/namespace/name` for each adapter.

A version is the tag of its number, an alias the tag of its name (one begins with a digit, the other with a letter), and
a note the tag `NOTE-1.0.0`, in letters that neither has. The tag of a version is the commit point: all that it needs is
there before.

The specification knows no conditional put, so that a version is made by looking, putting, and looking again after
`SETTLE` seconds. Of several who put one version at once all see the last one then, and it alone is told that it was
first, as long as nobody takes longer than that from looking to having put. Who does is told so, and never that it was
first. That such a latecomer replaces a version of another cannot be excluded here; registries with immutable tags do.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep

from lorry.errors import (
    InvalidArgument,
    InvalidFile,
    LorryError,
    NotFound,
    UpstreamFailed,
    VerificationFailed,
)
from lorry_registry.references.reference import parse_alias
from lorry_registry.references.semver import Version
from lorry_registry.remotes.oci.modelpack import EMPTY, embed, embedded, held, pack
from lorry_registry.remotes.oci.repository import Repository

SETTLE = 1.0
"""Seconds in which whoever saw no version has put one, or is told that it took too long."""

_NOTE = "NOTE-"
_LARGEST_MANIFEST = 16 << 20


class OciRemote:
    """The versions of one adapter in a repository; `shared` tells whether others may write there meanwhile."""

    def __init__(self, repository: Repository, *, shared: bool = True) -> None:
        self._repository, self._shared = repository, shared

    def size(self, sha256: str) -> int | None:
        """See `Remote`."""
        return self._repository.blob_size(sha256)

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """See `Remote`."""
        return self._repository.blob(sha256, start)

    def write(self, sha256: str, path: Path) -> None:
        """See `Remote`; a registry that has a blob of that name may keep its own, even where it is damaged."""
        self._repository.upload(sha256, path.stat().st_size, lambda: path.open("rb"))

    def versions(self) -> Iterable[str]:
        """See `Remote`."""
        return self._tags(lambda tag: str(Version.parse(tag)))

    def manifest(self, version: str) -> str | None:
        """See `Remote`; raise InvalidFile for a tag that another tool put there."""
        tag = str(Version.parse(version))
        document = self._repository.manifest(tag)
        if document is None:
            return None
        found = held(document)
        if found is None:
            raise InvalidFile(
                f"{self._repository} has a tag {tag} that lorry did not push; delete it there, or take another place"
            )
        return found.manifest

    def publish(self, version: str, sha256: str) -> bool:
        """See `Remote`, and the beginning of this file for what "exactly one" rests on."""
        artifact = pack(self._small(sha256))
        self._add(artifact.config)
        if self.manifest(version):
            return False
        return self._replace(str(Version.parse(version)), None, artifact.manifest)

    def aliases(self) -> Mapping[str, str]:
        """See `Remote`; tags that others put there are no aliases."""
        found = {tag: self._version(tag) for tag in self._tags(lambda tag: parse_alias(tag).name)}
        return {tag: version for tag, version in found.items() if version}

    def move(self, alias: str, before: str | None, after: str) -> bool:
        """See `Remote`; of two at once the later one stays. Raises NotFound for a version that is not there."""
        tag = parse_alias(alias).name
        if self._version(tag) != before:
            return False
        document = self._repository.manifest(str(Version.parse(after))) if self.manifest(after) else None
        if document is None:
            raise NotFound(f"{self._repository} has no version {after} for the alias {alias} to stand for")
        self._repository.tag(tag, document)
        return self._version(tag) == after

    def notes(self) -> Mapping[str, bytes]:
        """See `Remote`."""
        tags = self._tags(lambda tag: _NOTE + str(Version.parse(tag.removeprefix(_NOTE))))
        found = {tag.removeprefix(_NOTE): self._repository.manifest(tag) for tag in tags}
        return {version: embedded(document) for version, document in found.items() if document}

    def say(self, version: str, before: bytes | None, after: bytes) -> bool:
        """See `Remote`, and the beginning of this file for what "exactly one" rests on."""
        tag = _NOTE + str(Version.parse(version))
        document = self._repository.manifest(tag)
        if (embedded(document) if document else None) != before:
            return False
        self._add(EMPTY)
        self._add(after)
        return self._replace(tag, document, embed(after))

    def _replace(self, tag: str, before: bytes | None, after: bytes) -> bool:
        """Let a tag stand for `after` if it stands for `before`; return whether it does once all others have put."""
        began = monotonic()
        if self._repository.manifest(tag) != before:
            return False
        try:
            self._repository.tag(tag, after)
        except LorryError:  # some registries let no tag be replaced
            if self._repository.manifest(tag) == before:
                raise
            return False
        if not self._shared:
            return True
        if monotonic() - began > SETTLE:
            raise UpstreamFailed(
                f"{self._repository} took more than {SETTLE:g} seconds for the tag {tag}, so that nobody knows whether "
                "another was first; do it again to see what is there"
            )
        sleep(SETTLE)
        return self._repository.manifest(tag) == after

    def _tags(self, named: Callable[[str], str]) -> list[str]:
        """Return the tags that are what `named` makes of them; what others put there is not ours."""

        def ours(tag: str) -> bool:
            try:
                return named(tag) == tag
            except InvalidArgument:
                return False

        return list(filter(ours, self._repository.tags()))

    def _version(self, tag: str) -> str | None:
        document = self._repository.manifest(tag)
        found = held(document) if document else None
        return found.version if found else None

    def _small(self, sha256: str) -> bytes:
        data = bytearray()
        for chunk in self.read(sha256):
            data += chunk
            if len(data) > _LARGEST_MANIFEST:
                break
        if hashlib.sha256(data).hexdigest() != sha256:
            raise VerificationFailed(f"{self._repository} has a damaged manifest: it is not sha256:{sha256}")
        return bytes(data)

    def _add(self, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        if self.size(sha256) != len(data):
            self._repository.upload(sha256, len(data), lambda: io.BytesIO(data))
