"""Versions in a repository: the tag `v1.2.0` is version 1.2.0, whose commit has the manifest as adapter.json."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from lorry.errors import InvalidArgument, InvalidFile, NotFound
from lorry_registry.references.semver import Version
from lorry_registry.remotes.hub.repository import HubRepository
from lorry_registry.version.manifest import Manifest

MANIFEST = "adapter.json"
LARGEST = 16 << 20
"""Bytes of a manifest, and of what else lorry keeps beside it."""


class Standing(NamedTuple):
    """The manifest that a commit has, and its sha256."""

    manifest: Manifest
    digest: str
    size: int

    @property
    def version(self) -> Version:
        """The version that it says it is."""
        return self.manifest.reference.exact()


class HubVersions:
    """The versions in a repository; what a commit has is read once."""

    def __init__(self, repository: HubRepository) -> None:
        self._repository = repository
        self._standing: dict[str, Standing | None] = {}

    def tagged(self) -> dict[Version, str]:
        """Return the commit of every version as of now; none where there is no repository yet."""
        try:
            tags = self._repository.tags()
        except NotFound:
            return {}
        found = {_version(name): commit for name, commit in tags.items()}
        return {version: commit for version, commit in found.items() if version}

    def at(self, commit: str) -> Standing | None:
        """Return the manifest in a commit, None where it has none; raise InvalidFile where it is damaged."""
        if commit not in self._standing:
            data = self._repository.small_file(MANIFEST, commit, LARGEST)
            self._standing[commit] = None if data is None else self._read(data, commit)
        return self._standing[commit]

    def _read(self, data: bytes, commit: str) -> Standing:
        try:
            return Standing(Manifest.from_bytes(data), hashlib.sha256(data).hexdigest(), len(data))
        except InvalidFile as error:
            raise InvalidFile(f"hf://{self._repository.name}@{commit[:12]}: {MANIFEST}: {error}") from error


def tag_of(version: Version) -> str:
    """Return the tag that makes a commit this version."""
    return f"v{version}"


def _version(tag: str) -> Version | None:
    try:
        return Version.parse(tag[1:]) if tag.startswith("v") else None
    except InvalidArgument:
        return None
