"""Versions on their way: pushed to a remote, or cloned from one into the registry.

Nothing that comes from elsewhere is believed: the manifest must have the bytes its version names and speak of that
version, every file must have the bytes the manifest names, must pass `lorry validate` and be no pickle, and the
manifest must say of them what publishing them would, before any of it is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from lorry.errors import Conflict, InvalidArgument, NotFound, VerificationFailed
from lorry.plugin.remote import Remote
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, checking
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.home.view import version_files
from lorry_registry.publishing.admission import admit_version
from lorry_registry.references.reference import LATEST, Alias, Digest, Reference
from lorry_registry.references.resolve import meant
from lorry_registry.references.semver import Version
from lorry_registry.remotes.fetch import check, fetch, limited
from lorry_registry.remotes.remote_notes import notes_there, say_there
from lorry_registry.version.manifest import Manifest
from lorry_registry.version.notes import NOTHING, Note

LARGEST_MANIFEST = 16 << 20


class Cloned(NamedTuple):
    """A version that was brought here, by its exact reference and its manifest's sha256, and whether it is new."""

    reference: Reference
    digest: str
    new: bool


def push(store: LocalStore, resolved: Resolved, remote: Remote, aliases: Sequence[Alias] = ()) -> bool:
    """Put a version in a remote; return whether it is new there. What is there already is not sent again.

    What is said of it here (yanked, deprecated) is said there too, and "latest" moves as it does here. Raises Conflict
    where the remote has that version with other content, VerificationFailed where a blob here is damaged, and for
    what nobody could clone, and InvalidArgument for the alias "latest", which moves by itself there.
    """
    if Alias(LATEST) in aliases:
        raise InvalidArgument(f"{LATEST} is the highest stable version there, always; leave that alias out")
    version = resolved.reference.exact()
    manifest = store.manifest(resolved)
    _refuse_other(resolved, remote)
    lacking = [file for file in manifest.files if remote.size(file.sha256) != file.size]
    with checking(partial(store.blobs.verify, Content(file.sha256, file.size)) for file in lacking):
        held = version_files(store, resolved, verified={file.sha256 for file in lacking})
        admit_version(manifest, {file.path: path for file, path in held})
    for file in lacking:
        remote.write(file.sha256, store.blobs.path(file.sha256))
    remote.write(resolved.digest, store.blobs.path(resolved.digest))
    new = remote.publish(str(version), resolved.digest)
    _refuse_other(resolved, remote)
    note = store.records(resolved.reference).note(version)
    say_there(remote, resolved.reference, lambda there: there.joined(note))
    for alias in aliases:
        _move(remote, alias.name, version)
    return new


def clone(store: LocalStore, remote: Remote, reference: Reference | None, place: str = "") -> Cloned:
    """Bring a version from a remote into the registry, the one that a bare name means if None is named; return it.

    What was fetched before it was interrupted is not fetched again. What is said of it there is said here too, with a
    LorryWarning. Raises NotFound, Conflict where this registry has that version with other content, InvalidFile for a
    pickle, and VerificationFailed for bytes that are not the named ones, for a manifest that they contradict, and for
    what `lorry validate` rejects.
    """
    version, digest, note = find(remote, reference, place)
    manifest = manifest_there(remote, version, digest, reference)
    exact = Resolved(manifest.reference, digest)
    _refuse_moved(store, exact)
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as quarantine:
        drafts = {file.path: quarantine / file.path for file in manifest.files}
        for file in manifest.files:
            drafts[file.path].parent.mkdir(parents=True, exist_ok=True)
            fetch(store, remote, Content(file.sha256, file.size), file.path, drafts[file.path])
        checks = [
            partial(check, drafts[file.path], Content(file.sha256, file.size), file.path) for file in manifest.files
        ]
        with checking(checks), durable.syncing(drafts.values()):
            admit_version(manifest, drafts)
        # First, so that a yanked version is at no moment found here by a range.
        store.records(exact.reference).say(version, lambda here: here.joined(note), "clone")
        new = store.publish(manifest, drafts)
    return Cloned(*store.find(exact.reference), new)


def _refuse_other(resolved: Resolved, remote: Remote) -> None:
    there = remote.manifest(str(resolved.reference.exact()))
    if there not in (None, resolved.digest):
        raise Conflict(
            f"{resolved.reference} is there with other content (sha256:{there[:12]}), and versions never change; "
            "publish this as another one"
        )


def _refuse_moved(store: LocalStore, exact: Resolved) -> None:
    here = store.records(exact.reference).digest(exact.reference.exact())
    if here not in (None, exact.digest):
        raise Conflict(
            f"{exact.reference} is here with other content (sha256:{here[:12]}) than there "
            f"(sha256:{exact.digest[:12]}), and versions never change: whoever keeps one of the two has moved a tag or "
            "put another version in its place; ask them which is right"
        )


def _move(remote: Remote, alias: str, version: Version) -> None:
    """Point an alias at a version; try again where another was quicker."""
    while True:
        before = remote.aliases().get(alias)
        if before == str(version) or remote.move(alias, before, str(version)):
            return


def find(remote: Remote, reference: Reference | None, place: str = "") -> tuple[Version, str, Note]:
    """Return what a reference means there, as it would here, with its manifest's sha256 and what is said of it.

    Raises NotFound, naming the place where that is told.
    """
    versions, notes = sorted(map(Version.parse, remote.versions())), notes_there(remote)
    selector = reference.selector if reference else None

    def yanked(version: Version) -> bool:
        return notes.get(version, NOTHING).yanked is not None

    if isinstance(selector, Digest):
        found = [each for each in versions if (remote.manifest(str(each)) or "").startswith(selector.prefix)]
    else:
        aliases = {name: Version.parse(text) for name, text in remote.aliases().items()}
        # A place that itself says which version is meant says so by what "latest" is there, yanked or not.
        said = None if reference else aliases.get(LATEST)
        found = [said] if said else meant(selector, lambda: versions, lambda alias: aliases.get(alias.name), yanked)
        if not isinstance(selector, Version):
            found = [version for version in found if version == said or not yanked(version)]
    digest = remote.manifest(str(max(found))) if found else None
    if digest is None:
        told = ", ".join(f"{version}{' (yanked)' if yanked(version) else ''}" for version in reversed(versions))
        what = f"there is no {reference or 'stable version'} {f'at {place}' if place else 'there'}"
        if not (told or reference):
            raise NotFound(f"{what}: lorry pushed nothing to it; what another tool put there comes in with lorry add")
        there = f"versions: {told}" if told else "nothing of that name at all"
        raise NotFound(f"{what}; {there}; check the place and the name")
    return max(found), digest, notes.get(max(found), NOTHING)


def manifest_there(remote: Remote, version: Version, digest: str, asked: Reference | None) -> Manifest:
    """Read the manifest of a version, and hold it against what was asked for."""
    where = asked.at(version) if asked else version
    data = b"".join(limited(remote.read(digest), LARGEST_MANIFEST))
    if hashlib.sha256(data).hexdigest() != digest:
        raise VerificationFailed(f"{where}: the manifest there is damaged: it is not sha256:{digest}")
    manifest = Manifest.from_bytes(data)
    if manifest.reference != (asked or manifest.reference).at(version):
        raise VerificationFailed(f"{where}: the manifest there is that of {manifest.reference}")
    return manifest
