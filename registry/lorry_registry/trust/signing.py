"""Signatures: who stands for a version. They are OpenSSF's model signing, https://github.com/sigstore/model-transparency.

What is signed is a folder of the version's files and of its manifest, which is `.lorry/manifest.json` there: the folder
that tools for ModelPack pull from an OCI registry, so that `model_signing verify key` says yes to it too. A signature
is kept in the version's note, and so travels with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import Conflict, MissingExtra, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.publishing.pull import pull
from lorry_registry.remotes.oci.modelpack import MANIFEST_PATH
from lorry_registry.trust.keys import check_private, check_public
from lorry_registry.version.notes import Note

if TYPE_CHECKING:
    from model_signing.hashing import Config as Hashing


def sign(store: LocalStore, resolved: Resolved, key: Path, password: str | None = None) -> None:
    """Sign a version with a private key of an elliptic curve in PEM, in place of what that key signed before.

    Raises what `check_private` raises for what is no such key, VerificationFailed where a file of the version is
    damaged.
    """
    model_signing = _library()
    check_private(key, password)
    signer = model_signing.signing.Config().use_elliptic_key_signer(
        private_key=key, password=password.encode() if password else None
    )
    with _folder(store, resolved) as folder:
        signature = folder.parent / "signature"
        signer.set_hashing_config(_hashing()).sign(folder, signature)
        text = signature.read_text(encoding="utf-8")
    store.say(resolved.reference, lambda note: _signed(note, text), "sign")


def check_signature(store: LocalStore, resolved: Resolved, key: Path) -> None:
    """Raise VerificationFailed where no signature of a version was made by the key that belongs to this public one.

    Raises VerificationFailed too where a file is damaged, and what `check_public` raises for what is no public key.
    """
    model_signing = _library()
    check_public(key)
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
    signatures = store.records(resolved.reference).note(resolved.reference.exact()).signed_by
    if not signatures:
        raise VerificationFailed(f"{resolved.reference} is not signed by anybody")
    with _folder(store, resolved) as folder:
        reasons = [_refusal(verifier.set_hashing_config(_hashing()), folder, text) for text in signatures]
    if all(reasons):
        raise VerificationFailed(f"{resolved.reference} is not signed by the key of {key}: {'; '.join(reasons)}")


def _refusal(verifier: Any, folder: Path, text: str) -> str:  # noqa: ANN401  untyped there
    """Return why a signature does not hold, or nothing."""
    path = folder.parent / "signature"
    path.write_text(text, encoding="utf-8")
    try:
        with redirect_stdout(StringIO()):  # it prints warnings where results go
            verifier.verify(folder, path)
    except Exception as error:  # noqa: BLE001  a signature from elsewhere may be anything, and the library raises as much
        return str(error).strip() or type(error).__name__
    return ""


@contextmanager
def _folder(store: LocalStore, resolved: Resolved) -> Iterator[Path]:
    """Make a folder of exactly what is signed, checked byte by byte, named as the version."""
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as draft:
        folder = draft / f"{resolved.reference.name}@{resolved.reference.selector}"
        pull(store, resolved, folder)
        manifest = folder / MANIFEST_PATH
        if manifest.exists():
            raise Conflict(f"{resolved.reference} has a file {MANIFEST_PATH}, where a signature keeps the manifest")
        manifest.parent.mkdir(exist_ok=True)
        manifest.write_bytes(store.blobs.read(resolved.digest))
        yield folder


def _signed(note: Note, text: str) -> Note:
    return note.signed([text, *(each for each in note.signed_by if _key(each) != _key(text))])


def _key(text: str) -> object:
    """Return what a signature says of its key: the sha256 of the public one."""
    try:
        return json.loads(text)["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return text


def _hashing() -> Hashing:
    """Take every file there is: a signature that says which to leave out is not asked."""
    hashing: Hashing = _library().hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    return hashing.set_ignored_paths(paths=(), ignore_git_paths=False)


def _library() -> Any:  # noqa: ANN401  a module
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise MissingExtra("signing", "model-signing", "sign") from error
    return model_signing
