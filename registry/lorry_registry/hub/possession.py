"""Who may put a file into a commit by its sha256 alone: who sent its bytes, or may read them where they are.

Blobs are shared by everybody, and a sha256 is no secret: lock files tell it. Without this, knowing the one of a file
in a private repository would be enough to read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from lorry_registry.home.store import LocalStore
from lorry_registry.hub.commits import read_files
from lorry_registry.hub.hub import HubRepository
from lorry_registry.hub.xet import XetArea


class Possession:
    """What one caller has, of what they say is in a commit; `visible` are the repositories that they may read."""

    def __init__(
        self, caller: str, repository: HubRepository, visible: Iterable[HubRepository], area: XetArea | None = None
    ) -> None:
        self._caller, self._repository, self._visible, self._area = caller, repository, visible, area

    def includes(self, sha256: str) -> bool:
        """Tell whether they sent a file, or may read it; one left in a xet area is made a blob."""
        return (
            _proof(self._repository.store, self._caller, sha256).exists()
            or sha256 in self.there
            or (self._area is not None and self._area.fetch(sha256))
            or any(sha256 in held(each) for each in self._visible)
        )

    @cached_property
    def there(self) -> frozenset[str]:
        """The files of the repository that they write to."""
        return held(self._repository)


def held(repository: HubRepository) -> frozenset[str]:
    """Return the sha256 of every file that a repository has, or had."""
    return frozenset(_files(repository))


def prove(store: LocalStore, caller: str, sha256: str) -> None:
    """Remember that somebody sent a file, for as long as garbage collection leaves it."""
    _proof(store, caller, sha256).touch()


def _proof(store: LocalStore, caller: str, sha256: str) -> Path:
    return store.layout.drafts / f"sent-{hashlib.sha256(f'{caller} {sha256}'.encode()).hexdigest()}"


def _files(repository: HubRepository) -> Iterator[str]:
    """Yield the sha256 of every file in commits that clients wrote, and in versions that were asked for before."""
    for path in repository.written.commit_files():
        commit = repository.written.commit(path.name)
        yield from (entry.sha256 for entry in commit.files.values()) if commit else ()
    for version in repository.versions():
        made = read_files(repository.store.layout.hub / "versions" / version.digest)
        yield from (entry.sha256 for entry in (made or {}).values())
