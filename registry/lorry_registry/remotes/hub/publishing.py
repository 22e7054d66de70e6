"""Publishing to the Hub: everything in one commit, then the tag that makes it a version.

The order of commits on one branch decides between many: each is made on the very commit that its publisher saw
(`parent_commit`), and the tag only seals what stands there. Whoever meets a commit of the same version without its
tag sets the tag, so that a publisher who died, or never heard that his commit was made, has published all the same.

The main branch is what people load who name no revision: it only goes up. A version lower than the one there is
committed on a branch of its own, which is dropped when its tag stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.errors import Conflict, NotFound, UpstreamFailed
from lorry_registry.references.semver import Version
from lorry_registry.remotes.hub.contents import left_behind
from lorry_registry.remotes.hub.repository import MAIN, HubRepository
from lorry_registry.remotes.hub.versions import HubVersions, Standing, tag_of
from lorry_registry.version.manifest import Manifest

MOST_TURNS = 100
"""How often somebody else may be quicker before that is an error."""


class Release(NamedTuple):
    """What is to be published: a manifest, its sha256, and a function that makes the files of its commit."""

    manifest: Manifest
    digest: str
    contents: Callable[[], Mapping[str, Path | bytes]]


class _Line(NamedTuple):
    """A branch, the commit it stands at, and the manifest there."""

    branch: str
    head: str
    standing: Standing | None


def publish(repository: HubRepository, versions: HubVersions, release: Release) -> bool:
    """Publish a version; return whether this call did: its commit, or its tag on a commit that was found, is new.

    Of many who publish one version at once with different content exactly one is told so. Raises Conflict where the
    repository holds another adapter.
    """
    version, mine = release.manifest.reference.exact(), False
    line: _Line | None = None
    for _ in range(MOST_TURNS):
        commit = versions.tagged().get(version)
        if commit:
            if line and line.branch != MAIN:
                repository.drop_branch(line.branch)
            standing = versions.at(commit)
            return mine and standing is not None and standing.digest == release.digest
        line = _line(repository, versions, release.manifest)
        if line is None:
            continue
        if line.standing and line.standing.version == version:
            sealed = _seal(repository, versions, version, line.head)
            mine = mine or (sealed and line.standing.digest == release.digest)
        else:
            commit = _commit(repository, versions, release, line)
            if commit:
                mine = True
                _seal(repository, versions, version, commit)
    raise repository.too_busy(MOST_TURNS)


def _seal(repository: HubRepository, versions: HubVersions, version: Version, commit: str) -> bool:
    """Make a commit the version, unless there is one already; return whether it was made now."""
    try:
        return repository.tag(tag_of(version), commit)
    except UpstreamFailed:
        if versions.tagged().get(version) != commit:
            raise
        return True  # the answer was lost, the tag was not


def _line(repository: HubRepository, versions: HubVersions, manifest: Manifest) -> _Line | None:
    """Return where a version is to be committed; None where another's tag made that branch vanish just now."""
    version = manifest.reference.exact()
    line = _at_head(repository, versions, MAIN)
    if line is None:
        raise UpstreamFailed(f"hf://{repository.name} has no branch {MAIN}; push again, or make one on its page")
    if line.standing and line.standing.manifest.reference.adapter != manifest.reference.adapter:
        raise Conflict(
            f"hf://{repository.name} holds {line.standing.manifest.reference.adapter}, and a repository holds one "
            f"adapter; push {manifest.reference.adapter} to another one"
        )
    if line.standing is None or _rank(version) >= _rank(line.standing.version):
        return line
    own = f"publish-{version}"
    repository.branch(own, line.head)
    return _at_head(repository, versions, own)


def _at_head(repository: HubRepository, versions: HubVersions, branch: str) -> _Line | None:
    head = repository.commit_of(branch)
    return _Line(branch, head, versions.at(head)) if head else None


def _rank(version: Version) -> tuple[bool, Version]:
    """Order versions by what people should get who name none: any stable one before every pre-release."""
    return version.stable, version


def _commit(repository: HubRepository, versions: HubVersions, release: Release, line: _Line) -> str | None:
    """Commit a version; return the commit, None where others were quicker, or where the answer was lost."""
    files = release.contents()
    there = [file.path for file in repository.files(line.head)]
    gone = sorted(left_behind(line.standing.manifest, there) - files.keys()) if line.standing else []
    message = f"Publish {release.manifest.reference}\n\nManifest sha256:{release.digest}"
    try:
        return repository.commit(line.branch, line.head, message, files, gone)
    except (NotFound, UpstreamFailed):
        now = _at_head(repository, versions, line.branch)
        if now and (now.standing is None or now.standing.digest != release.digest):
            raise
        return None
