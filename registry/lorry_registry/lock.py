"""Lock files: which exact versions a project uses, by digest, so that everybody gets the same bytes ever after.

A lock file is JSON, made by lorry and read by people and reviewers:

    {"schema_version": 1, "adapters": [{"reference": "demo/cat@^1", "version": "1.2.0", "manifest": "9f86…",
      "base": "sd1@1", "fingerprint": "60a1…", "files": [{"path": "cat.safetensors", "size": 1, "sha256": "…"}]}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError  # noqa: TID253  loaded by lock and sync only

from lorry.errors import Conflict, Incompatible, InvalidFile, NotFound, VerificationFailed
from lorry.ops.disk.output import replacing
from lorry_registry.home.blobs import measure
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.publishing.pull import pull
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version
from lorry_registry.version.manifest import Manifest, Sha256, Text, explain

NAME = "lorry.lock"
SCHEMA = 1


class LockedFile(BaseModel):
    """One file of a locked version."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Text
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    tensor_digest: Text | None = None


class Locked(BaseModel):
    """One adapter: what was asked for, and the one version that answers it. See the fields of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    reference: Text
    version: Text
    manifest: Sha256
    base: Text
    fingerprint: Sha256
    files: tuple[LockedFile, ...]

    @property
    def exact(self) -> Reference:
        """The exact reference."""
        return Reference.parse(self.reference).at(Version.parse(self.version))


class Lock(BaseModel):
    """All adapters of a project, by reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: int = SCHEMA
    adapters: tuple[Locked, ...] = ()

    def write(self, path: Path) -> None:
        """Write it down, whole or not at all; what was there is replaced."""
        with replacing(path, force=True) as draft:
            text = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
            draft.write_text(f"{text}\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Lock:
        """Read a lock file; raise NotFound, InvalidFile, or Incompatible for one of a newer lorry."""
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"{path} does not exist; lorry lock NS/NAME… makes it") from error
        try:
            found = json.loads(data)
            schema = found.get("schema_version") if isinstance(found, dict) else None
            if isinstance(schema, int) and schema > SCHEMA:
                raise Incompatible(f"{path} has schema {schema}, this lorry knows {SCHEMA}; upgrade lorry")
            if isinstance(found, dict) and (lacking := [name for name in Lock.model_fields if name not in found]):
                raise InvalidFile(f"{path} is no lock file: it has no {' and no '.join(lacking)}")
            return Lock.model_validate_json(data)
        except ValidationError as error:
            raise InvalidFile(f"{path} is no lock file: {explain(error)}") from error
        except ValueError as error:
            raise InvalidFile(f"{path} is no lock file: {error}") from error


class Difference(NamedTuple):
    """One thing in a folder or in the registry that is not as the lock says; a `stray` is a file too many."""

    where: str
    what: str
    stray: bool = False


def lock(store: LocalStore, references: Iterable[Reference], before: Lock | None = None) -> Lock:
    """Fix the version each reference means now, and each other one of the lock `before`; raise NotFound."""
    asked = [*references]
    named = {each.adapter for each in asked}
    kept = [Reference.parse(each.reference) for each in before.adapters] if before else []
    adapters = {}
    for reference in [*asked, *(each for each in kept if each.adapter not in named)]:
        if reference.adapter in adapters:
            raise Conflict(
                f"{reference.adapter} is asked for twice, and a project uses one version of it; leave one out"
            )
        adapters[reference.adapter] = _locked(store, reference)
    return Lock(adapters=tuple(adapters[name] for name in sorted(adapters)))


def sync(store: LocalStore, locked: Lock, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Make `folder` hold every file of every locked version, as NAMESPACE/NAME/FILE; return them.

    Every byte is checked against the lock. Raises VerificationFailed where the registry's version is another one
    than the locked one, Conflict for a file with other content unless `force`. Files of others are left alone. A
    version that was yanked or deprecated since is warned of.
    """
    resolved = [_resolved(store, each) for each in locked.adapters]
    paths: list[Path] = []
    for each, found in zip(locked.adapters, resolved, strict=True):
        paths += pull(store, found, folder / each.exact.adapter, force=force)
    return tuple(paths)


def differences(store: LocalStore, locked: Lock, folder: Path) -> Iterator[Difference]:
    """Yield what is not as the lock says: versions the registry has not, or has otherwise, and files in `folder`."""
    for each in locked.adapters:
        try:
            _resolved(store, each)
        except (NotFound, VerificationFailed) as error:
            yield Difference(str(each.exact), str(error))
        place = folder / each.exact.adapter
        for file in each.files:
            path = place / file.path
            if not path.is_file():
                yield Difference(str(path), "is missing")
            elif path.stat().st_size != file.size or measure(path).sha256 != file.sha256:
                yield Difference(str(path), "has other content than was locked")
        known = {file.path for file in each.files}
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.relative_to(place).as_posix() not in known:
                yield Difference(str(path), "is no part of the locked version; move it away", stray=True)


def _locked(store: LocalStore, reference: Reference) -> Locked:
    found = store.find(reference)
    manifest: Manifest = store.manifest(found)
    files: Sequence[LockedFile] = [
        LockedFile(path=file.path, size=file.size, sha256=file.sha256, tensor_digest=file.tensor_digest)
        for file in manifest.files
    ]
    return Locked(
        reference=str(reference),
        version=str(found.reference.exact()),
        manifest=found.digest,
        base=manifest.base.id,
        fingerprint=manifest.base.fingerprint,
        files=tuple(files),
    )


def _resolved(store: LocalStore, locked: Locked) -> Resolved:
    found = store.find(locked.exact)
    if found.digest != locked.manifest:
        raise VerificationFailed(
            f"{locked.exact} is another version here (sha256:{found.digest[:12]}) than was locked "
            f"(sha256:{locked.manifest[:12]}); find out which is right, and lock it again with: lorry lock"
        )
    return found
