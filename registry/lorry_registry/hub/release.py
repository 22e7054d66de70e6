"""From a tag to a version: a tag like v1.2.0 on a commit with lorry's manifest publishes that version here too."""

from __future__ import annotations

from lorry.errors import InvalidArgument, InvalidFile, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content
from lorry_registry.hub.commits import Commit
from lorry_registry.hub.hub import HubRepository, now
from lorry_registry.hub.weights import manifest_of, require_files
from lorry_registry.publishing.admission import admit_version
from lorry_registry.references.semver import Version
from lorry_registry.remotes.hub.versions import MANIFEST


def create_tag(repository: HubRepository, tag: str, commit: Commit) -> bool:
    """Make a tag, and before that the version it stands for; return whether it was us.

    A version that stands without its tag, for a crash came between, gets it when the same is sent again.
    """
    taken = tag in repository.tags()
    if repository.written.tag(tag) or (not _release(repository, tag, commit) and taken):
        return False
    repository.written.create(private=False, time=now())
    return repository.written.create_tag(tag, commit.id)


def _release(repository: HubRepository, tag: str, commit: Commit) -> bool:
    """Publish what a commit's manifest names, where the tag is a version's; return whether it is.

    Nothing is believed: every file must be in the commit with the bytes that the manifest names, must pass `lorry
    validate` and be no pickle. Another adapter's version stays a tag: as on the Hub, a repository may be called
    otherwise than the adapter in it, as long as no version of its own name is here. Raises InvalidFile, and Conflict
    where the version exists with other content.
    """
    version, store = _version(tag), repository.store
    manifest = manifest_of(store, commit.files) if version else None
    if version is None or manifest is None:
        return False
    reference = repository.reference.at(version)
    if manifest.reference.adapter != reference.adapter and not repository.versions():
        return False
    if manifest.reference != reference:
        raise InvalidFile(f"{MANIFEST} is that of {manifest.reference}, and the tag would make it {reference}")
    require_files(manifest, commit.files)
    with durable.draft(store.layout.drafts) as folder:
        drafts = {file.path: folder / file.path for file in manifest.files}
        for file in manifest.files:
            drafts[file.path].parent.mkdir(parents=True, exist_ok=True)
            store.blobs.copy(Content(file.sha256, file.size), drafts[file.path])
        try:
            admit_version(manifest, drafts)
        except VerificationFailed as error:
            raise InvalidFile(str(error)) from error  # what was sent is at fault, not what this server holds
        store.publish(manifest, drafts)
    return True


def _version(tag: str) -> Version | None:
    try:
        return Version.parse(tag.removeprefix("v")) if tag.startswith("v") else None
    except InvalidArgument:
        return None
