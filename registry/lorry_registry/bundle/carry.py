"""Versions into a bundle, and out of one: a push to it and a clone from it, of several at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidArgument, InvalidFile, NotFound, VerificationFailed
from lorry.ops.disk.output import check_target, replacing
from lorry_registry.bundle.bundle import Bundle, open_bundle
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.lineage.ancestry import ancestry
from lorry_registry.references.reference import LATEST, Alias, Reference
from lorry_registry.references.semver import Version
from lorry_registry.remotes.transfer import Cloned, clone, push
from lorry_registry.version.manifest import Manifest


class Kept(NamedTuple):
    """An alias that was not taken from a bundle, since it stands for another version here."""

    alias: Reference
    here: Version
    there: Version


class Export:
    """Writes versions to a file, step by step, with what is said of them and the aliases that stand for them.

    Raises NotFound, InvalidArgument for a file not named .tar, and Conflict where it is there, unless `force`.
    """

    def __init__(
        self,
        store: LocalStore,
        references: Iterable[str],
        path: Path,
        *,
        with_parents: bool = False,
        force: bool = False,
    ) -> None:
        if path.suffix.lower() != ".tar":
            raise InvalidArgument(f"{path} would be a tar file all the same; name it {path.with_suffix('.tar')}")
        chosen = dict.fromkeys(store.find(Reference.parse(each)) for each in references)
        self.versions = _with_parents(store, chosen) if with_parents else list(chosen)
        self._store, self._path, self._force = store, path, force
        check_target(path, force=force)

    def run(self) -> Iterator[Resolved]:
        """Yield each version as it is ready; the file is there at the end. Raises what `push` raises."""
        with replacing(self._path, force=self._force) as draft:
            bundle = Bundle(str(self._path))
            for each in self.versions:
                push(self._store, each, bundle.remote(each.reference.adapter), self._aliases(each.reference))
                yield each
            bundle.write(draft)

    def _aliases(self, reference: Reference) -> list[Alias]:
        aliases = self._store.records(reference).aliases()
        return [Alias(name) for name, version in aliases.items() if version == reference.exact() and name != LATEST]


class Import:
    """Brings every version of a bundle into the registry, step by step.

    Every byte of the file is checked before any of it is in, and each version by `lorry validate` before it is. What is
    in before an interruption stays, whole, and the same import goes on from there. An alias that stands for another
    version here stays as it is: see `kept`.
    """

    def __init__(self, store: LocalStore, path: Path) -> None:
        self._store, self._bundle = store, open_bundle(path)
        self.versions = [
            Reference.parse(adapter).at(version)
            for adapter in sorted(self._bundle.tags)
            for version in sorted(map(Version.parse, self._bundle.remote(adapter).versions()))
        ]
        self.kept: list[Kept] = []

    def run(self) -> Iterator[Cloned]:
        """Yield each version as it is in; raise what `clone` raises."""
        self._bundle.verify()
        for reference in self.versions:
            self._check(reference)
        aliases = list(self._aliases())
        for reference in self.versions:
            yield clone(self._store, self._bundle.remote(reference.adapter), reference)
        for alias, there in aliases:
            self._take(alias, there)

    def _aliases(self) -> Iterator[tuple[Reference, Version]]:
        """Yield what each alias stands for; raise InvalidFile where that is not in the bundle."""
        for adapter in self._bundle.tags:
            for alias, version in self._bundle.remote(adapter).aliases().items():
                reference, there = Reference.parse(adapter).at(Alias(alias)), Version.parse(version)
                if reference.at(there) not in self.versions:
                    raise InvalidFile(f"{self._bundle.name}: {reference} stands for {there}, which is not in the file")
                yield reference, there

    def _check(self, reference: Reference) -> None:
        remote = self._bundle.remote(reference.adapter)
        digest = remote.manifest(str(reference.exact())) or ""
        manifest = Manifest.from_bytes(self._bundle.small(digest))
        if manifest.reference != reference:
            raise VerificationFailed(f"{self._bundle.name}: {reference} has the manifest of {manifest.reference}")
        for file in manifest.files:
            if remote.size(file.sha256) != file.size:
                raise InvalidFile(
                    f"{self._bundle.name} lacks {file.path} of {reference}: no blob is sha256:{file.sha256}"
                )

    def _take(self, alias: Reference, there: Version) -> None:
        if str(alias.selector) == LATEST:  # it moves by itself
            return
        here = self._store.records(alias).alias(Alias(str(alias.selector)))
        if here is None and not self._store.records(alias).yanked(there):
            self._store.set_alias(alias, there)
        elif here not in (None, there):
            self.kept.append(Kept(alias, here, there))


def _with_parents(store: LocalStore, chosen: Iterable[Resolved]) -> list[Resolved]:
    """Return versions and all published ones they were made from, each once, by name and version."""
    found = {digest: made.name for each in chosen for digest, made in ancestry(store, each).items()}
    published = {each for digest, name in found.items() if (each := _published(store, name, digest))}
    return sorted(published, key=lambda each: (each.reference.adapter, each.reference.exact()))


def _published(store: LocalStore, name: str, digest: str) -> Resolved | None:
    try:
        found = store.resolve(Reference.parse(name))
    except (InvalidArgument, NotFound):
        return None
    return found if found.digest == digest else None
