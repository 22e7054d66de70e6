"""Views: a version's files under their own names, since names and suffixes mean something to formats.

A view is made of hard links to blobs where the disk has them, else of copies; beside a home that is read-only, of
symbolic links. It is a cache: it may be deleted
at any time. Whenever it is used its files are held against their sha256, and those read whole that changed since.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from lorry.errors import VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.blobs import MEND, Content, known_sha256
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.version.manifest import File, Manifest

ADAPTER_ROLES = ("weights", "embedding", "config")
"""Roles of the files that make up the adapter; cards and pictures are beside it."""


def adapter_files(store: LocalStore, resolved: Resolved, verified: Collection[str] = ()) -> tuple[Path, ...]:
    """Return the files of an adapter, to be read only; make the view where there is none yet.

    Raises VerificationFailed where a blob is missing or damaged; those whose sha256 is `verified` are not read again.
    """
    return tuple(path for file, path in version_files(store, resolved, verified) if file.role in ADAPTER_ROLES)


def version_files(store: LocalStore, resolved: Resolved, verified: Collection[str] = ()) -> list[tuple[File, Path]]:
    """Return all files of a version; see `adapter_files`."""
    manifest = store.manifest(resolved)
    folder = store.layout.scratch.views / resolved.digest
    if not all(_intact(store, file, folder / file.path, verified) for file in manifest.files):
        _make(store, resolved, manifest, folder, verified)
    return [(file, folder / file.path) for file in manifest.files]


def file_of_digest(store: LocalStore, sha256: str) -> Path | None:
    """Return a file of these bytes, of any version that holds it and is whole, yanked or not; None where none does.

    Raises VerificationFailed where versions hold it, and all of them are damaged.
    """
    from lorry_registry.home.index import find_file

    damage: VerificationFailed | None = None
    for reference, manifest in find_file(store, sha256):
        resolved = Resolved(reference, manifest)
        try:
            names = [file.path for file in store.manifest(resolved).files if file.sha256 == sha256]
            adapter_files(store, resolved)
        except VerificationFailed as error:
            damage = damage or error
        else:
            return store.layout.scratch.views / manifest / names[0]
    if damage:
        raise damage
    return None


def _intact(store: LocalStore, file: File, path: Path, verified: Collection[str] = ()) -> bool:
    blob = store.blobs.path(file.sha256)
    if not (path.is_file() and blob.is_file()):
        return False
    return (file.sha256 in verified and path.samefile(blob)) or known_sha256(path) == file.sha256


def _make(store: LocalStore, resolved: Resolved, manifest: Manifest, folder: Path, verified: Collection[str]) -> None:
    """Build the view aside and move it into place whole; where there is one, put in place of each file what it lacks.

    So no file that somebody else reads by its name is missing for a moment.
    """
    layout = store.layout.scratch
    layout.prepare()
    durable.make_folder(folder.parent)
    with durable.draft(layout.drafts) as draft:
        for file in manifest.files:
            target = draft / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if file.sha256 not in verified:
                    store.blobs.verify(Content(file.sha256, file.size))
                _link_or_copy(store, file, target)
            except VerificationFailed as error:
                raise VerificationFailed(f"{resolved.reference}: {file.path}: {error}; {MEND}") from error
        try:
            draft.rename(folder)
        except OSError:  # another process was first, or files of an older view are damaged
            if not folder.is_dir():
                raise
            for file in manifest.files:
                _put(store, file, draft / file.path, folder / file.path)


def _put(store: LocalStore, file: File, made: Path, target: Path) -> None:
    if _intact(store, file, target):
        return
    if target.is_dir():
        durable.remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.replace(target)


def _link_or_copy(store: LocalStore, file: File, target: Path) -> None:
    blob = store.blobs.path(file.sha256)
    try:
        if blob.is_symlink():
            target.symlink_to(blob.readlink())
        elif not store.layout.writable:
            target.symlink_to(blob)
        else:
            os.link(blob, target)
    except OSError:  # no hard links on this disk, or too many of this file
        store.blobs.copy(Content(file.sha256, file.size), target)
