"""Verifying: whether a version is still, byte for byte, what was published."""

from __future__ import annotations

from lorry.errors import VerificationFailed
from lorry_registry.home.blobs import MEND, Content
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.version.manifest import Manifest


def verify(store: LocalStore, resolved: Resolved) -> Manifest:
    """Read every byte of a version again; raise VerificationFailed naming each file that is not as recorded."""
    manifest = store.manifest(resolved)
    faults = []
    for file in manifest.files:
        try:
            store.blobs.verify(Content(file.sha256, file.size))
        except VerificationFailed as error:
            faults.append(f"{file.path}: {error}")
    if faults:
        raise VerificationFailed(f"{resolved.reference}: {'; '.join(faults)}; {MEND}")
    return manifest
