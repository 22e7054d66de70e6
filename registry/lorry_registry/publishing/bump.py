"""The bump that a new version must be, from what changed since the one below it.

What each range of versions promises decides: `^1.2.0` gets only what can be swapped in, `~1.2.0` only the same
weights. So a change of what the adapter is for or of its keys leaves `^`, other weights leave `~`, and other metadata
leaves neither. Semantic Versioning (semver.org) says as much of programs. Pre-releases promise nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

from lorry.errors import Conflict, LorryWarning, VerificationFailed
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Range, Version
from lorry_registry.version.manifest import Manifest

FIRST = Version(1, 0, 0)
MAJOR, MINOR, PATCH = "major", "minor", "patch"
_LEAVES = {MAJOR: "^", MINOR: "~"}


class Bump(NamedTuple):
    """The bump from one version to the next: "major", "minor" or "patch", and what changed; "" where nothing did."""

    size: str
    what: str

    def fits(self, before: Version, after: Version) -> bool:
        """Tell whether `after` is far enough from `before`: in no range that promises what is no longer so."""
        sign = _LEAVES.get(self.size)
        return not sign or after not in Range.parse(f"{sign}{before}")

    def next(self, before: Version) -> Version:
        """Return the smallest version above `before` that is far enough from it."""
        sign = _LEAVES.get(self.size)
        return Range.parse(f"{sign}{before}").high if sign else before.next_patch()


def bump(before: Manifest, after: Manifest) -> Bump:
    """Return the bump from one manifest to another, by the largest change between them."""
    if what := "; ".join(_breaks(before, after)):
        return Bump(MAJOR, what)
    if _weights(before) != _weights(after):
        return Bump(MINOR, "other weights")
    same = _at(before, FIRST).to_bytes() == _at(after, FIRST).to_bytes()
    return Bump(PATCH, "" if same else "other metadata, file names or files beside the weights")


def refuse_small(store: LocalStore, manifest: Manifest) -> None:
    """Raise Conflict where a version is nearer to the one below it than what changed between them allows."""
    reference, version = manifest.reference, manifest.reference.exact()
    below = nearest(store, reference) if version.stable else None
    if below is None:
        return
    before, needed = below.reference.exact(), bump(below, manifest)
    if not needed.fits(before, version):
        fitting = reference.at(_free(store, reference, needed, before))
        raise Conflict(
            f"{reference} is too small a bump from {before}: {needed.what}. That is a {needed.size} change, so "
            f"publish {fitting}, or write {reference.adapter} alone to have the version chosen; --force-bump publishes "
            "it all the same"
        )


def numbered(store: LocalStore, manifest: Manifest) -> Manifest:
    """Return the manifest with the next version that fits, or with the highest not yanked if that is the same."""
    reference, records = manifest.reference.at(None), store.records(manifest.reference)
    taken = records.versions()
    offered = max((each for each in taken if each.stable and not records.yanked(each)), default=None)
    if offered and _at(manifest, offered).digest() == records.digest(offered):
        return _at(manifest, offered)
    below = nearest(store, reference)
    if below is None:
        return _at(manifest, max(taken).next_patch() if taken else FIRST)
    return _at(manifest, _free(store, reference, bump(below, manifest), below.reference.exact()))


def nearest(store: LocalStore, reference: Reference, *, itself: bool = False) -> Manifest | None:
    """Return the highest stable version below an exact reference, or of all: a yanked one too, it was a promise.

    With `itself`, the version of that reference where it is there. One that cannot be read any more is passed over,
    with a LorryWarning if it is below.
    """
    limit = reference.selector if isinstance(reference.selector, Version) else None
    for version in reversed(store.records(reference).versions()):
        if version.stable and (limit is None or version < limit or (itself and version == limit)):
            try:
                return store.manifest(store.resolve(reference.at(version)))
            except VerificationFailed as error:
                if version == limit:
                    continue
                told = f"{error}; what changed is told from the version below it"
                warnings.warn(told, LorryWarning, stacklevel=3)
    return None


def _free(store: LocalStore, reference: Reference, needed: Bump, before: Version) -> Version:
    """Return the next version that is far enough from one, and is not taken."""
    taken, version = store.records(reference).versions(), needed.next(before)
    while version in taken:
        version = needed.next(version)
    return version


def _at(manifest: Manifest, version: Version) -> Manifest:
    return manifest.model_copy(update={"id": manifest.id.model_copy(update={"version": str(version)})})


def _breaks(before: Manifest, after: Manifest) -> Iterator[str]:
    """Yield why one cannot be swapped in for the other."""
    old, new = before.adapter, after.adapter
    told = {
        "base": (before.base.id.partition("@")[0], after.base.id.partition("@")[0]),
        "kinds": (", ".join(old.kinds), ", ".join(new.kinds)),
        "format": (old.format, new.format),
        "components": (", ".join(old.components), ", ".join(new.components)),
    }
    for name, (was, now) in told.items():
        if was != now:
            yield f"{name}: {now} now, {was} before"
    if lost := [token for token in old.tokens if token not in new.tokens]:
        yield f"it no longer has the learned token {', '.join(lost)}"
    # Another version of the base table may name the same modules otherwise.
    if before.base.id == after.base.id and before.base.fingerprint != after.base.fingerprint:
        yield "it changes other modules of the base"


def _weights(manifest: Manifest) -> list[str]:
    """Return what decides the numbers: tensors, and the configurations that say how they are used."""
    held = (file.tensor_digest or (file.sha256 if file.role == "config" else "") for file in manifest.files)
    return sorted(filter(None, held))
