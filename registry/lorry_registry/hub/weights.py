"""What tools load from the branch main: the weights of a version, and no others.

A commit to main may change the card, pictures, and whatever else is beside the weights. Where versions are published
it may change weights only as pushing the next version does, together with the manifest: people who name no revision
would get bytes else that no version has, and that nobody checks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from lorry.errors import Conflict, InvalidFile, LorryError
from lorry_registry.home.store import LocalStore
from lorry_registry.home.view import ADAPTER_ROLES
from lorry_registry.hub.commits import Entry
from lorry_registry.remotes.hub.versions import LARGEST, MANIFEST
from lorry_registry.version.manifest import Manifest

if TYPE_CHECKING:
    from lorry_registry.hub.hub import HubRepository

_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def manifest_of(store: LocalStore, files: Mapping[str, Entry]) -> Manifest | None:
    """Return the manifest among the files of a commit, None where it has none; raise InvalidFile."""
    entry = files.get(MANIFEST)
    if entry and entry.size > LARGEST:
        raise InvalidFile(f"{MANIFEST} has {entry.size:,} bytes; that is no manifest")
    return Manifest.from_bytes(store.blobs.read(entry.sha256)) if entry else None


def require_files(manifest: Manifest, files: Mapping[str, Entry]) -> None:
    """Raise InvalidFile where a commit lacks a file that its manifest names."""
    there = {each.content for each in files.values()}
    missing = [file.path for file in manifest.files if (file.sha256, file.size) not in there]
    if missing:
        raise InvalidFile(f"{MANIFEST} names {missing[0]}, which the commit does not have with those bytes")


def same_weights(store: LocalStore, files: Mapping[str, Entry], others: Mapping[str, Entry]) -> bool:
    """Tell whether tools load the same from two commits."""
    with suppress(LorryError):
        manifest = manifest_of(store, files)
        named = {file.path for file in manifest.files if file.role in ADAPTER_ROLES} if manifest else ()
        return _weights(files, named) == _weights(others, named)
    return False


def require_version(repository: HubRepository, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> None:
    """Raise Conflict where a commit to main changes weights and brings neither a new version nor one that is here."""
    store, versions = repository.store, {each.digest: each for each in repository.versions()}
    if not versions or same_weights(store, before, after):
        return
    manifest = manifest_of(store, after)
    known = versions.get(after[MANIFEST].sha256) if manifest else None
    if known:
        if same_weights(store, repository.commit(f"v{known.reference.selector}").files, after):
            return
    elif manifest and manifest.reference.adapter == repository.id:
        store.refuse_other(manifest)
        require_files(manifest, after)
        return
    raise Conflict(
        f"main is the latest version of {repository.id}, and this would change its weights without being a version; "
        "push a new version, or commit to another branch"
    )


def _weights(files: Mapping[str, Entry], named: Collection[str]) -> dict[str, str]:
    return {
        path: entry.sha256
        for path, entry in files.items()
        if path == MANIFEST or path in named or path.lower().endswith(_SUFFIXES)
    }
