"""The repositories of a registry: what clients wrote, and what is published, as one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from lorry.errors import NotFound, VerificationFailed
from lorry_registry.home.blobs import Content
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.hub.commits import EMPTY, Commit
from lorry_registry.hub.made import holding
from lorry_registry.hub.repository import MAIN, Repository, repositories
from lorry_registry.hub.state import agree, said_here
from lorry_registry.hub.versions import version_commit, version_id
from lorry_registry.hub.weights import same_weights
from lorry_registry.references.reference import LATEST, Reference
from lorry_registry.remotes.hub.versions import MANIFEST


class HubRepository:
    """The repository of one adapter.

    A version that was published without a client's tag is the tag "v1.2.0" all the same; an alias is a branch. The
    branch main is what clients wrote there as long as that is the latest version, or about to be it.
    """

    def __init__(self, store: LocalStore, namespace: str, name: str) -> None:
        self.store = store
        self.reference = Reference.parse(f"{namespace}/{name}")
        self.written = Repository(store.layout, self.reference.namespace, self.reference.name)
        self._beside = Repository(store.layout.scratch, self.reference.namespace, self.reference.name)

    @property
    def id(self) -> str:
        """The name "namespace/name"."""
        return self.reference.adapter

    @property
    def exists(self) -> bool:
        """Whether there is anything of that name."""
        return self.written.exists or bool(self.store.records(self.reference).versions())

    def branches(self) -> dict[str, str]:
        """Return the id of each branch's last commit."""
        return {**self.aliases(), **self.written.branches(), MAIN: self.main()}

    def tags(self) -> dict[str, str]:
        """Return the id of each tag's commit."""
        versions = {f"v{each.reference.selector}": self._version_commit(each) for each in self.versions()}
        return {**self.written.tags(), **versions}

    def aliases(self) -> dict[str, str]:
        """Return the commits of the aliases, but of the one that main stands for."""
        aliases = self.store.records(self.reference).aliases()
        tags = self.tags() if aliases else {}
        known = ((name, tags.get(f"v{version}")) for name, version in aliases.items() if name not in {LATEST, MAIN})
        return {name: commit_id for name, commit_id in known if commit_id}

    def versions(self) -> list[Resolved]:
        """Return what is published, lowest first."""
        records = self.store.records(self.reference)
        return [self.store.resolve(self.reference.at(version)) for version in records.versions()]

    def main(self) -> str:
        """Return the id of the commit that main is at, which says of the versions what the registry says."""
        while True:
            length, head = self.written.length(MAIN), self._head()
            if not self.versions():
                return head
            if self.written.commit(head) is None and not any(said_here(self.store, self.reference).values()):
                return head  # a version of which nothing is said: no need to look at its files, or to make them
            agreed = agree(self, self.commit(head))
            if agreed.id:
                return agreed.id
            if not self.store.layout.writable:
                return self._beside.keep(agreed)
            self.written.create(private=False, time=now())
            if commit_id := self.written.append(MAIN, length, agreed):
                self.written.agree(commit_id)
                return commit_id

    def _head(self) -> str:
        """Return the id of main's last commit, or of that of the latest version where main stands for another one."""
        head, newest = self.written.head(MAIN), self._newest()
        if newest is None:
            return head or EMPTY.id
        latest = self._version_commit(newest)
        commit = self.written.commit(head) if head else None
        if head is None or commit is None:
            return head or latest
        manifest = commit.files.get(MANIFEST)
        if manifest and manifest.sha256 in {each.digest for each in self.versions()}:
            return head if manifest.sha256 == newest.digest and self._has_weights_of(latest, commit) else latest
        return head if latest in self._line(head) else latest

    def _version_commit(self, version: Resolved) -> str:
        """Return the id of a version's commit: the one that clients gave its tag, where that is of this version."""
        tagged = self.written.tag(f"v{version.reference.selector}")
        commit = self.written.commit(tagged) if tagged else None
        manifest = commit.files.get(MANIFEST) if commit else None
        return commit.id if commit and manifest and manifest.sha256 == version.digest else version_id(version)

    def _has_weights_of(self, latest: str, commit: Commit) -> bool:
        """Tell whether a commit has the weights that clients gave the latest version's tag, where they gave it one."""
        tagged = self.written.commit(latest)
        return tagged is None or tagged == commit or same_weights(self.store, tagged.files, commit.files)

    def _line(self, commit_id: str | None) -> Iterator[str]:
        """Yield the ids of a commit and those before it."""
        while commit_id:
            yield commit_id
            commit = self._stored(commit_id)
            commit_id = commit.parent if commit else None

    def _stored(self, commit_id: str) -> Commit | None:
        """Return a commit that clients wrote, or that only says of a read-only registry what it says."""
        return self.written.commit(commit_id) or self._beside.commit(commit_id)

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or an id names; raise VerificationFailed where it is damaged.

        The number of a version means its tag, as "1.2.0" for "v1.2.0", and "latest" the version of that alias.
        """
        if found := self._commit(revision):
            return found
        commit_id = self.main() if revision == MAIN else self._named().get(revision.lower())
        found = self._commit(commit_id) if commit_id else None
        if commit_id and found is None:
            raise VerificationFailed(f"{self.id}: commit {commit_id}, which {revision} names, is missing; lorry fsck")
        return found

    def _named(self) -> dict[str, str]:
        """Return the id of the commit of each name that is none of main's; what clients named goes before the rest."""
        newest = self._newest()
        latest = {LATEST: self._version_commit(newest)} if newest else {}
        numbers = {str(each.reference.selector): self._version_commit(each) for each in self.versions()}
        return {**latest, **numbers, **self.tags(), **self.branches()}

    def commit(self, revision: str) -> Commit:
        """Return the commit that a branch, a tag or an id names; raise NotFound."""
        found = self.find(revision)
        if found is None:
            raise NotFound(f"{self.id} has no revision {revision!r}")
        return found

    def history(self, commit_id: str) -> Iterator[Commit]:
        """Yield a commit and those before it, back to the first."""
        return (commit for each in self._line(commit_id) if (commit := self._commit(each)))

    def _commit(self, commit_id: str) -> Commit | None:
        if commit_id == EMPTY.id:
            return EMPTY
        if found := self._stored(commit_id):
            return found
        version = next((each for each in self.versions() if version_id(each) == commit_id), None)
        return version_commit(self.store, version) if version else None

    def _newest(self) -> Resolved | None:
        """Return the latest version, or where none is stable the highest."""
        records = self.store.records(self.reference)
        if not records.versions():
            return None
        try:
            return self.store.resolve(self.reference)
        except NotFound:
            offered = [version for version in records.versions() if not records.yanked(version)]
            return self.store.resolve(self.reference.at(max(offered))) if offered else None


class Hub:
    """All repositories of a registry."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self._sound: dict[Path, tuple[int, int, int, int]] = {}

    def require_sound(self, content: Content) -> None:
        """Check a blob before it is sent, once in the life of a server; raise VerificationFailed for a damaged one.

        Clients do not check what they download, so that bytes gone bad here would be bad everywhere.
        """
        blobs = holding(self.store, content.sha256)
        path = blobs.path(content.sha256)
        state = path.stat() if path.is_file() else None
        seen = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size) if state else None
        if seen is None or self._sound.get(path) != seen:
            blobs.verify(content)
            if seen:
                self._sound[path] = seen

    def repository(self, namespace: str, name: str) -> HubRepository:
        """Return the repository of that name; raise InvalidArgument for a name that is none."""
        return HubRepository(self.store, namespace, name)

    def repositories(self) -> Iterator[HubRepository]:
        """Yield every repository, by name."""
        published = {reference.adapter for reference, _ in self.store.adapters()}
        written = {each.id for each in repositories(self.store.layout)}
        for name in sorted(published | written):
            found = self.repository(*name.split("/"))
            if found.exists:
                yield found


def now() -> str:
    """Return the time in UTC, as the Hub writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
