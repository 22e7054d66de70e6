"""Versions elsewhere: whether their bytes hold there, and bytes from there for what is damaged here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from lorry.errors import LorryError, NotFound, VerificationFailed
from lorry.plugin.remote import Remote
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.remotes.fetch import check, fetch, limited
from lorry_registry.remotes.transfer import LARGEST_MANIFEST, find, manifest_there
from lorry_registry.upkeep.fsck import Fault
from lorry_registry.version.manifest import File, Manifest


def verify_there(store: LocalStore, remote: Remote, reference: Reference | None, place: str = "") -> Manifest:
    """Read every byte of a version in a place, keeping none; return its manifest.

    Raises NotFound, and VerificationFailed naming each file that is not as recorded there, or saying that this registry
    has that version with another manifest.
    """
    version, digest, _ = find(remote, reference, place)
    manifest = manifest_there(remote, version, digest, reference)
    here = store.records(manifest.reference).digest(version)
    if here not in (None, digest):
        raise VerificationFailed(
            f"{manifest.reference} is sha256:{digest[:12]} there and sha256:{here[:12]} here; one of them was replaced"
        )
    faults = [f"{file.path}: {fault}" for file in manifest.files if (fault := _fault(remote, file))]
    if faults:
        raise VerificationFailed(f"{manifest.reference} is damaged there: {'; '.join(faults)}")
    return manifest


def mend(store: LocalStore, faults: Iterable[Fault], open_: Callable[[Reference], Remote]) -> tuple[Fault, ...]:
    """Put intact bytes in place of damaged and missing ones, from the place where `open_` finds an adapter's versions.

    Returns the faults that were mended. What the place lacks, or has damaged as well, stays as it is.
    """
    wanted: dict[Content | str, Fault] = {}
    for fault in faults:
        wanted.setdefault(fault.content or fault.where, fault)
    opened = cache(open_)
    store.layout.prepare()
    brought = (each for reference in store.published() for each in _brought(store, reference, opened, wanted))
    return tuple(wanted.pop(each) for each in brought if each in wanted)


def _brought(
    store: LocalStore, reference: Reference, open_: Callable[[Reference], Remote], wanted: Mapping[Content | str, Fault]
) -> Iterator[Content | str]:
    """Bring what a version lacks; yield the contents, and the version itself where that was its manifest."""
    manifest = _manifest(store, reference)
    new = manifest is None and str(reference) in wanted and _bring_manifest(store, reference, open_)
    if new:
        yield str(reference)
        manifest = _manifest(store, reference)
    for file in manifest.files if manifest else ():
        content = Content(file.sha256, file.size)
        lacks = (new or content in wanted) and not store.blobs.intact(content)
        if lacks and _bring(store, open_(reference.at(None)), content, file.path):
            yield content


def _manifest(store: LocalStore, reference: Reference) -> Manifest | None:
    try:
        return store.manifest(store.resolve(reference))
    except LorryError:
        return None


def _bring_manifest(store: LocalStore, reference: Reference, open_: Callable[[Reference], Remote]) -> bool:
    try:
        digest = store.records(reference).digest(reference.exact())
    except VerificationFailed:  # the record itself is damaged
        return False
    remote = open_(reference.at(None))
    size = remote.size(digest) if digest else None
    if digest is None or size is None or size > LARGEST_MANIFEST:
        return False
    return _bring(store, remote, Content(digest, size), str(reference))


def _bring(store: LocalStore, remote: Remote, content: Content, name: str) -> bool:
    try:
        with durable.draft(store.layout.drafts) as draft:
            fetch(store, remote, content, name, draft)
            with durable.syncing([draft]):
                check(draft, content, name)
            store.blobs.add(draft, content)
    except (NotFound, VerificationFailed):
        return False
    return True


def _fault(remote: Remote, file: File) -> str:
    """Return what is wrong with a file's bytes, or nothing."""
    found, size = hashlib.sha256(), 0
    try:
        for chunk in limited(remote.read(file.sha256), file.size):
            found.update(chunk)
            size += len(chunk)
    except NotFound:
        return "it is missing"
    except VerificationFailed:
        return f"it has more than {file.size:,} bytes"
    if found.hexdigest() == file.sha256:
        return ""
    return (
        f"its bytes are not sha256:{file.sha256}" if size == file.size else f"it has {size:,} bytes, not {file.size:,}"
    )
