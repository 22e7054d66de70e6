"""What the Hub's side of a registry holds: for collecting garbage, which must leave it, and for checking it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lorry.errors import VerificationFailed
from lorry_registry.home.blobs import Content
from lorry_registry.home.store import LocalStore
from lorry_registry.hub.commits import EMPTY, ID_LENGTH, Commit, read_files
from lorry_registry.hub.repository import Repository, repositories


class Stored(NamedTuple):
    """A commit that a branch, a tag or another commit names; or what is wrong with it."""

    where: str
    commit: Commit | None
    fault: str = ""


def stored(store: LocalStore) -> Iterator[Stored]:
    """Yield every commit that clients wrote and that can be reached, each once."""
    elsewhere = {EMPTY.id, *_versions(store)}
    for repository in repositories(store.layout):
        yield from _reachable(repository, elsewhere)


def held(store: LocalStore, manifests: Collection[str]) -> Iterator[str]:
    """Yield the sha256 of every file that clients wrote, and of what was made for the versions of these manifests.

    Raises VerificationFailed where a commit cannot be read: what it holds is not known.
    """
    for each in stored(store):
        if each.commit is None:
            raise VerificationFailed(f"{each.where}: {each.fault}")
        yield from (entry.sha256 for entry in each.commit.files.values())
    for path in made_for_versions(store):
        if path.name in manifests:
            yield from (entry.sha256 for entry in (read_files(path) or {}).values())


def unneeded(store: LocalStore, manifests: Collection[str]) -> Iterator[Path]:
    """Yield the commits that nothing names any more, and what was made for versions that are gone."""
    known = {(each.where, each.commit.id) for each in stored(store) if each.commit}
    for repository in repositories(store.layout):
        yield from (path for path in repository.commit_files() if (repository.id, path.name) not in known)
    yield from (path for path in made_for_versions(store) if path.name not in manifests)


def contents(store: LocalStore) -> Iterator[tuple[Content, str]]:
    """Yield what must stand at each blob that clients wrote or that was made for a version, and where it belongs."""
    for each in stored(store):
        for path, entry in (each.commit.files if each.commit else {}).items():
            yield entry.content, f"{each.where}: {path}"
    for record in made_for_versions(store):
        for path, entry in (read_files(record) or {}).items():
            yield entry.content, f"{path}, which is made again when {record} is deleted"


def made_for_versions(store: LocalStore) -> list[Path]:
    """Return the records of what was made to show versions as commits."""
    return sorted((store.layout.hub / "versions").glob("*"))


def _versions(store: LocalStore) -> Iterator[str]:
    """Yield the ids of the commits that stand for versions; a damaged record is told by whoever checks versions."""
    for reference in store.published():
        with suppress(VerificationFailed):
            yield store.resolve(reference).digest[:ID_LENGTH]


def _reachable(repository: Repository, elsewhere: Collection[str]) -> Iterator[Stored]:
    seen: set[str] = set()
    try:
        repository.check_settings()
        names = repository.named()
    except VerificationFailed as error:
        yield Stored(repository.id, None, str(error))
        return
    while names:
        commit_id = names.pop()
        if commit_id in seen or commit_id in elsewhere:
            continue
        seen.add(commit_id)
        try:
            commit = repository.commit(commit_id)
        except VerificationFailed as error:
            yield Stored(repository.id, None, str(error))
            continue
        if commit is None:
            yield Stored(repository.id, None, f"commit {commit_id} is missing")
            continue
        yield Stored(repository.id, commit)
        names += [commit.parent] if commit.parent else []
