"""Checking a whole registry: every record, every manifest, every byte; and mending what intact bytes are found for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lorry.errors import LorryError, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, copy, measure
from lorry_registry.home.index import is_right
from lorry_registry.home.latest import move_latest
from lorry_registry.home.records import Records
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.hub import housekeeping as hub
from lorry_registry.references.reference import Alias, Reference
from lorry_registry.references.semver import Version
from lorry_registry.remotes.transfer import LARGEST_MANIFEST


class Fault(NamedTuple):
    """One thing that is not as it should be.

    content: what must stand at the blob, where one is at fault. manifest: the sha256 of a manifest that is at fault,
    whose size nothing tells.
    """

    where: str
    what: str
    content: Content | None = None
    manifest: str = ""


def check(store: LocalStore) -> Iterator[Fault]:
    """Yield every fault there is, of a blob once; reads every byte once, however many versions share it.

    The index is held against manifests that are all sound.
    """
    sound = True
    for fault in _faults(store):
        sound = False
        yield fault
    if sound and not is_right(store):
        yield Fault(str(store.layout.index), "it says something else than the manifests; delete it, it is made anew")


def _faults(store: LocalStore) -> Iterator[Fault]:
    holders: dict[Content, list[str]] = {}
    for reference in store.published():
        digest = ""
        try:
            resolved = store.resolve(reference)
            digest = resolved.digest
            manifest = store.manifest(resolved)
        except LorryError as error:
            yield Fault(str(reference), str(error), manifest="" if _readable(store, digest) else digest)
            continue
        for file in manifest.files:
            holders.setdefault(Content(file.sha256, file.size), []).append(f"{reference}: {file.path}")
    for content, where in hub.contents(store):
        holders.setdefault(content, []).append(where)
    yield from (Fault(each.where, each.fault) for each in hub.stored(store) if each.fault)
    for content, held in holders.items():
        if not store.blobs.intact(content):
            state = "damaged" if store.blobs.path(content.sha256).is_file() else "missing"
            places = f" (in {len(held)} places)" if held[1:] else ""
            blob = store.blobs.path(content.sha256)
            name = store.blobs.name(content.sha256) if blob.is_symlink() else f"its blob {content.sha256}"
            yield Fault(f"{held[0]}{places}", f"{name} is {state}", content)
    for adapter, _ in store.adapters():
        yield from _records(store, adapter)


def _readable(store: LocalStore, sha256: str) -> bool:
    """Tell whether a blob's bytes are right; what is wrong with them as a manifest, no other bytes mend."""
    try:
        return not sha256 or bool(store.blobs.read(sha256))
    except VerificationFailed:
        return False


def repair(store: LocalStore, faults: Iterable[Fault], places: Sequence[Path]) -> tuple[Fault, ...]:
    """Put intact bytes in place of damaged and missing blobs, from files anywhere below `places` and from views.

    Records of versions that are damaged or gone are written anew, where the log and the manifest tell what they were;
    of a version that stands and is not logged, what follows a publish is done: the log, and the alias "latest".
    Returns the faults that were mended. Files are told by size and sha256, manifests by sha256 alone, never by name;
    what a manifest that is whole again names is looked at by the next `check`.
    """
    store.layout.prepare()
    faults = tuple(faults)
    wanted: dict[int, dict[str, Fault]] = {}
    for fault in faults:
        if fault.content:
            wanted.setdefault(fault.content.size, {})[fault.content.sha256] = fault
    manifests = {fault.manifest: fault for fault in faults if fault.manifest}
    mended: list[Fault] = []
    for path in _files([*places, store.layout.views]):
        size = path.stat().st_size
        found = wanted.get(size, {}) | (manifests if size <= LARGEST_MANIFEST else {})
        match = found.get(measure(path).sha256) if found else None
        if match and match not in mended and _mend(store, path, match):
            mended.append(match)
    records = (fault for fault in faults if not fault.content and fault not in mended)
    return *mended, *(fault for fault in records if _restore(store, fault.where))


def _records(store: LocalStore, adapter: Reference) -> Iterator[Fault]:
    records = store.records(adapter)
    versions = records.versions()
    for version in versions:
        try:
            records.note(version)
        except VerificationFailed as error:
            yield Fault(str(adapter.at(version)), str(error))
            continue
        if not records.log.has_note(version, records.written_note(version)):
            what = "its note (yanked, deprecated, signed) is gone, or another one than the log has; say it again"
            yield Fault(str(adapter.at(version)), what)
    yield from _unlike_the_log(records, adapter, versions)
    for name in records.alias_names():
        where = str(adapter.at(Alias(name)))
        try:
            target = records.alias(Alias(name))
        except VerificationFailed as error:
            yield Fault(where, str(error))
            continue
        if target not in versions:
            yield Fault(where, f"it stands for {target}, which is not published; set it again")
    if torn := records.log.torn_lines():
        yield Fault(str(adapter), f"{torn} lines of its log are torn or damaged; the others are read all the same")


def _unlike_the_log(records: Records, adapter: Reference, versions: Sequence[Version]) -> Iterator[Fault]:
    """Yield what was published or named as the log has it and is gone, and what a publish did not come to log."""
    logged = records.log.published()
    for version in map(Version.parse, logged):
        if version not in versions:
            yield Fault(str(adapter.at(version)), "the log has it published, and its record is gone; publish it again")
    for version in versions:
        if str(version) not in logged:
            yield Fault(str(adapter.at(version)), "its publishing is not logged; lorry fsck --repair logs it")
    for name in sorted(records.log.kept_aliases() - {*records.alias_names()}):
        yield Fault(str(adapter.at(Alias(name))), "it is gone, and the log has nobody drop it; set it again")


def _restore(store: LocalStore, where: str) -> bool:
    """Write the record of a version as it was logged, or log it as it was recorded; tell whether.

    Either needs a manifest that says it is of that version. A wrong index is deleted.
    """
    if where == str(store.layout.index):
        store.layout.index.unlink(missing_ok=True)
        return True
    try:
        reference = Reference.parse(where)
        version, records = reference.exact(), store.records(reference)
        logged = records.log.digests().get(str(version))
        digest = logged or records.digest(version) or ""
        store.manifest(Resolved(reference, digest))
    except LorryError:  # another kind of fault, or nothing tells what the record was
        return False
    if logged:
        return records.restore(version, digest)
    records.log.add_publish(version, digest)
    move_latest(records)
    return True


def _mend(store: LocalStore, path: Path, fault: Fault) -> bool:
    with durable.draft(store.layout.drafts) as draft:
        content = copy(path, draft, durable.READ_ONLY)
        if content != fault.content and content.sha256 != fault.manifest:  # it changed meanwhile
            return False
        store.blobs.add(draft, content)
    return True


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in [place, *place.rglob("*")] if path.is_file() and not path.is_symlink())
