"""The local store: content-addressed blobs, and for each adapter its records. No locks, no server.

A publish goes blobs, manifest, version, log, aliases. The version's record is made by one atomic link: that is
the commit point. Before it nothing is published and at most unused blobs are left; after it the version
stands, whatever happens next.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import (
    Conflict,
    InvalidArgument,
    InvalidFile,
    LorryError,
    LorryWarning,
    NotFound,
    VerificationFailed,
)
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Blobs, Content
from lorry_registry.home.latest import highest_offered, move_latest, offered
from lorry_registry.home.layout import Layout, default_home
from lorry_registry.home.records import Records, entries
from lorry_registry.references.names import check_name
from lorry_registry.references.reference import LATEST, Alias, Digest, Reference, movable
from lorry_registry.references.resolve import meant
from lorry_registry.references.semver import Version
from lorry_registry.version.notes import Change

if TYPE_CHECKING:
    from lorry_registry.version.manifest import Manifest

_SHOWN = 5


class PublishIncomplete(LorryError):
    """The version is published and stands, but what should follow it (an alias, the log) failed."""


class Resolved(NamedTuple):
    """One version: its exact reference, and the sha256 of its manifest."""

    reference: Reference
    digest: str


class LocalStore:
    """The registry in one home folder; safe for many processes at once."""

    def __init__(self, home: Path | None = None) -> None:
        self.layout = Layout(home or default_home())
        if self.layout.check():
            from lorry_registry.home.upgrade import upgrade

            upgrade(self.layout)
        self.blobs = Blobs(self.layout.blobs, self.layout.drafts)

    def records(self, reference: Reference) -> Records:
        """Return the records of the adapter a reference names."""
        return Records(self.layout, reference)

    def published(self) -> Iterator[Reference]:
        """Yield the exact reference of every version there is, by name and from the lowest version up."""
        for adapter, _ in self.adapters():
            for version in self.records(adapter).versions():
                yield adapter.at(version)

    def adapters(self) -> Iterator[tuple[Reference, int]]:
        """Yield every adapter by name, with the time its versions and the notes on them last changed.

        The time is in nanoseconds of the disk's clock.
        """
        # As texts, not as paths: with thousands of adapters that takes half the time.
        for namespace in entries(self.layout.names, lambda text: check_name(text, "namespace") == text):
            folder = os.path.join(self.layout.names, namespace)  # noqa: PTH118  see above
            for name in entries(Path(folder), lambda text: check_name(text, "name") == text):
                with suppress(FileNotFoundError, NotADirectoryError):
                    changed = os.stat(f"{folder}/{name}/versions").st_mtime_ns  # noqa: PTH116  see above
                    with suppress(FileNotFoundError):
                        changed = max(changed, os.stat(f"{folder}/{name}/notes").st_mtime_ns)  # noqa: PTH116  see above
                    yield Reference(namespace, name), changed

    def now_ns(self) -> int:
        """Return the time as the disk has it, in nanoseconds: over a network its clock may differ from ours.

        0 where the home is read-only, so that nobody knows.
        """
        if not self.layout.writable:
            return 0
        self.layout.prepare()
        with durable.draft(self.layout.drafts) as draft:
            draft.touch()
            return draft.stat().st_mtime_ns

    def knows(self, reference: Reference) -> bool:
        """Tell whether an adapter of this name is here, or one that may have been meant."""
        return bool(self.records(reference).versions() or self._near(reference))

    def resolve(self, reference: Reference) -> Resolved:
        """Find the version a reference means; raise NotFound saying what there is instead.

        Without a selector that is the alias "latest", or where nobody has moved it yet the highest stable
        version. A yanked version is found by its exact number or digest alone.
        """
        found = self._find(reference)
        if found is None:
            raise NotFound(self.missing(reference))
        return found

    def find(self, reference: Reference) -> Resolved:
        """Resolve a reference for use: as `resolve`, with a LorryWarning where the version should not be used."""
        found = self.resolve(reference)
        note = self.records(found.reference).note(found.reference.exact())
        if note.warns:
            warnings.warn(f"{found.reference} is {note}", LorryWarning, stacklevel=3)
        return found

    def manifest(self, resolved: Resolved) -> Manifest:
        """Read a version's manifest; raise VerificationFailed where it is damaged, missing or another's."""
        from lorry_registry.version.manifest import Manifest

        try:
            manifest = Manifest.from_bytes(self.blobs.read(resolved.digest))
        except (InvalidFile, VerificationFailed) as error:
            raise VerificationFailed(f"{resolved.reference}: its manifest: {error}") from error
        if manifest.reference != resolved.reference:
            raise VerificationFailed(f"{resolved.reference}: its record points at the manifest of {manifest.reference}")
        return manifest

    def publish(self, manifest: Manifest, drafts: Mapping[str, Path], aliases: Iterable[Alias] = ()) -> bool:
        """Publish a version; return whether it is new. The same again is no error, and mends what is damaged.

        `drafts` are synced files in the store's drafts folder, by their paths in the manifest. A stable version
        moves the alias "latest" to the highest stable one; `aliases` are moved besides. Raises Conflict where
        the version exists with other content, PublishIncomplete where it stands but a later step failed.
        """
        reference, digest = manifest.reference, manifest.digest()
        records, version = self.records(reference), reference.exact()
        self.refuse_other(manifest)
        with self._telling_if_interrupted(manifest):
            try:
                for file in manifest.files:
                    self.blobs.add(drafts[file.path], Content(file.sha256, file.size))
                self.blobs.add_bytes(manifest.to_bytes())
                new = records.commit(version, digest)
            except OSError as error:
                if records.digest(version) != digest:
                    raise LorryError(
                        f"{reference} was not published, nothing is changed: {durable.reason(error)}; "
                        "mend that and publish it again"
                    ) from error
                raise PublishIncomplete(
                    f"published {reference}, but the disk did not confirm it ({durable.reason(error)}); "
                    "publish it again"
                ) from error
            self.refuse_other(manifest)
            self._follow_up(reference, digest, aliases)
            return new

    @contextmanager
    def _telling_if_interrupted(self, manifest: Manifest) -> Iterator[None]:
        """Tell whoever interrupts a publish with Ctrl-C that it came too late, where the version stands already."""
        try:
            yield
        except KeyboardInterrupt as error:
            reference = manifest.reference
            if self.records(reference).digest(reference.exact()) == manifest.digest():
                told = "its log and aliases may lack it: lorry fsck --repair mends the log, lorry alias sets an alias"
                error.add_note(f"{reference} is published and whole, but {told}")
            raise

    def refuse_other(self, manifest: Manifest) -> None:
        """Raise Conflict where the version is taken by another manifest; it names the version that this could be."""
        reference = manifest.reference
        recorded = self.records(reference).digest(reference.exact())
        if recorded in (None, manifest.digest()):
            return
        from lorry_registry.publishing.bump import numbered

        fitting = numbered(self, manifest).reference
        known = self.records(fitting).digest(fitting.exact())
        advice = f"this is {fitting}, which is there already" if known else f"publish this as {fitting}"
        raise Conflict(
            f"{reference} exists with other content (sha256:{recorded[:12]}), and versions never change; {advice}"
        )

    def set_alias(self, reference: Reference, version: Version) -> bool:
        """Point an alias (the reference's selector) at a version; return whether it moved.

        Raises NotFound for a version that is not there, InvalidArgument where the selector is no alias, or is the
        alias "latest" and the version is not the one that it stands for by itself.
        """
        if not isinstance(reference.selector, Alias):
            raise InvalidArgument(f"{str(reference)!r} names no alias; write {reference.adapter}@stable, say")
        self.resolve(reference.at(version))
        records = self.records(reference)
        if records.yanked(version):
            raise Conflict(f"{reference.at(version)} was yanked, and no alias finds it; lorry unyank takes that back")
        if reference.selector.name == LATEST and version != highest_offered(records):
            movable(reference.selector)
        self.layout.prepare()
        return records.move(reference.selector, version)

    def drop_alias(self, reference: Reference) -> Version:
        """Forget an alias (the reference's selector), and log it; return the version that it stood for.

        Raises NotFound where there is none, InvalidArgument for "latest" and where the selector is no alias.
        """
        if not isinstance(reference.selector, Alias):
            raise InvalidArgument(f"{str(reference)!r} names no alias; lorry alias ls {reference.adapter} lists them")
        records, alias = self.records(reference), movable(reference.selector)
        before = records.alias(alias)
        records.drop(alias)
        if before is None:
            raise NotFound(self.missing(reference))
        return before

    def say(self, reference: Reference, change: Change, event: str) -> bool:
        """Change the note on an exact version and log it as `event`; return whether it says something else now.

        "latest" moves on from a version that is yanked now, and back to one that is no longer; where all are yanked
        there is none.
        """
        version = reference.exact()
        self.resolve(reference)
        self.layout.prepare()
        records = self.records(reference)
        changed = records.say(version, change, event)
        move_latest(records)
        return changed

    def _follow_up(self, reference: Reference, digest: str, aliases: Iterable[Alias]) -> None:
        """Do what follows the commit point; raise PublishIncomplete naming every step that failed."""
        records, version = self.records(reference), reference.exact()
        steps: dict[str, Callable[[], object]] = {"not logged": lambda: records.log.add_publish(version, digest)}
        if offered(records, version):
            steps[f"alias {LATEST} not moved"] = lambda: move_latest(records)
        for alias in aliases:
            steps[f"alias {alias} not moved"] = partial(records.move, alias, version)
        failed = []
        for what, step in steps.items():
            try:
                step()
            except OSError as error:
                failed.append(f"{what} ({durable.reason(error)})")
        if failed:
            raise PublishIncomplete(f"published {reference}, {', '.join(failed)}; mend that and publish it again")

    def _find(self, reference: Reference) -> Resolved | None:
        records = self.records(reference)
        match reference.selector:
            case Version() as version:
                digest = records.digest(version)
                return Resolved(reference, digest) if digest else None
            case Digest(prefix):
                return self._find_digest(reference, prefix)
        found = [version for version in self._meant(reference) if not records.yanked(version)]
        return self._find(reference.at(max(found))) if found else None

    def _meant(self, reference: Reference) -> list[Version]:
        """Return the versions that a range, an alias or a bare name speaks of, yanked ones too."""
        records = self.records(reference)
        if isinstance(reference.selector, Version):
            return []
        return meant(reference.selector, records.versions, records.alias, records.yanked)

    def _find_digest(self, reference: Reference, prefix: str) -> Resolved | None:
        every = (self._find(reference.at(version)) for version in self.records(reference).versions())
        found = [each for each in every if each and each.digest.startswith(prefix)]
        if len(found) > 1:
            raise InvalidArgument(f"{reference} fits {len(found)} versions; give more digits")
        return found[0] if found else None

    def missing(self, reference: Reference) -> str:
        """Say that a reference names nothing here, and what there is instead."""
        adapter, versions = reference.adapter, self.records(reference).versions()
        if not versions:
            near = self._near(reference)
            advice = f"did you mean {' or '.join(near)}?" if near else "lorry ls lists what there is"
            return f"the registry at {self.layout.home} has no {adapter}; {advice}"
        shown = ", ".join(map(str, versions[: -_SHOWN - 1 : -1])) + (" …" if len(versions) > _SHOWN else "")
        if yanked := self._yanked(reference):
            return f"{reference}: what it means was yanked: {yanked}; an exact version is found all the same: {shown}"
        match reference.selector:
            case None:
                return f"{adapter} has no stable version yet; name one of {shown}"
            case Alias() as alias:
                known = ", ".join(self.records(reference).aliases()) or "none"
                return f"{adapter} has no alias {alias}; aliases: {known}; versions: {shown}"
            case selector:
                return f"{adapter} has no version {selector}; it has {shown}"

    def _yanked(self, reference: Reference) -> str:
        """Say why the versions that a reference speaks of are yanked; "" where it speaks of none."""
        records = self.records(reference)
        reasons = [(version, records.note(version).yanked) for version in self._meant(reference)[-_SHOWN:]]
        return "; ".join(f"{version} ({reason or 'no reason given'})" for version, reason in reasons)

    def _near(self, reference: Reference) -> list[str]:
        import difflib

        known = dict.fromkeys(each.adapter for each in self.published())
        return difflib.get_close_matches(reference.adapter, known, n=3, cutoff=0.75)
