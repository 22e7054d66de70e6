"""Pulling: a version's files copied out of the registry, for people and tools to keep and change."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from lorry.errors import Conflict, VerificationFailed
from lorry.ops.disk.output import replacing
from lorry_registry.home.blobs import MEND, Content, measure
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.version.manifest import File


def pull(store: LocalStore, resolved: Resolved, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Copy a version's files into `folder`, which is made if missing; return them in the manifest's order.

    Every byte is checked on its way, and no file appears before all of them are whole. A file that is there
    with the same content stays; another one raises Conflict unless `force`. Raises VerificationFailed for a
    blob that is missing or damaged. Other files in the folder are left alone.
    """
    manifest = store.manifest(resolved)
    with ExitStack() as stack:
        if folder.is_dir():
            into, missing = folder, [file for file in manifest.files if not _is_there(file, folder, force=force)]
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            into, missing = stack.enter_context(replacing(folder)), list(manifest.files)
            into.mkdir()
        for file in missing:
            target = into / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = stack.enter_context(replacing(target, force=force))
            try:
                store.blobs.copy(Content(file.sha256, file.size), draft)
            except VerificationFailed as error:
                raise VerificationFailed(
                    f"{resolved.reference}: {file.path}: {error}; nothing was pulled; {MEND}"
                ) from error
    return tuple(folder / file.path for file in manifest.files)


def _is_there(file: File, folder: Path, *, force: bool) -> bool:
    """Tell whether the file need not be copied; raise Conflict for another one of that name."""
    path = folder / file.path
    if path.is_dir():
        raise Conflict(f"{path} is a folder, and {file.path} should go there; choose another folder")
    if not path.exists():
        return False
    if path.stat().st_size == file.size and measure(path).sha256 == file.sha256:
        return True
    if not force:
        raise Conflict(f"{path} exists with other content; choose another folder, or say --force to replace it")
    return False
