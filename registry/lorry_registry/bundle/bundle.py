"""A bundle: several adapters' versions in an OCI image layout, which is a tar archive of an index and of blobs.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md: what a registry would have as the tag 1.0.0 of
the repository demo/cat, the index names `demo/cat:1.0.0`. The same versions make the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lorry.errors import InvalidArgument, InvalidFile, NotFound, VerificationFailed
from lorry_registry.bundle import archive
from lorry_registry.bundle.archive import Blob
from lorry_registry.references.reference import Reference
from lorry_registry.remotes.oci.modelpack import MANIFEST
from lorry_registry.remotes.oci.remote import OciRemote
from lorry_registry.version import canonical_json

_MARK, _LAYOUT = "oci-layout", {"imageLayoutVersion": "1.0.0"}
_FOLDERS = ("blobs", "blobs/sha256")
_INDEX, _INDEX_TYPE = "index.json", "application/vnd.oci.image.index.v1+json"
_NAME = "org.opencontainers.image.ref.name"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_LARGEST, _LARGEST_DOCUMENT = 16 << 20, 4 << 20


class Bundle:
    """Blobs by sha256, and for each adapter its tags, each with the sha256 of the manifest it stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.blobs: dict[str, Blob] = {}
        self.tags: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def remote(self, adapter: str) -> OciRemote:
        """Return the versions of one adapter in it."""
        return OciRemote(_BundleRepository(self, adapter), shared=False)

    def add(self, sha256: str, blob: Blob) -> None:
        """Add a blob that has this digest."""
        self.blobs[sha256] = blob

    def small(self, sha256: str, most: int = _LARGEST) -> bytes:
        """Return the bytes of a manifest; raise InvalidFile where it is missing or too large."""
        blob = self.blobs.get(sha256)
        if blob is None or blob.size > most:
            raise InvalidFile(f"{self.name} lacks the manifest {sha256}, or it is one of more than {most:,} bytes")
        return b"".join(blob.read())

    def write(self, path: Path) -> None:
        """Write it as a new file."""
        named = ((f"{adapter}:{tag}", sha256) for adapter, tags in self.tags.items() for tag, sha256 in tags.items())
        index = {
            "schemaVersion": 2,
            "mediaType": _INDEX_TYPE,
            "manifests": [
                {
                    "mediaType": MANIFEST,
                    "digest": f"sha256:{sha256}",
                    "size": self.blobs[sha256].size,
                    "annotations": {_NAME: name},
                }
                for name, sha256 in sorted(named)
            ],
        }
        first = {_MARK: _held(canonical_json.dump(_LAYOUT)), _INDEX: _held(canonical_json.dump(index))}
        blobs = {f"blobs/sha256/{sha256}": blob for sha256, blob in sorted(self.blobs.items())}
        with path.open("xb") as file:
            archive.write(file, (first | blobs).items())

    def verify(self) -> None:
        """Read every blob; raise VerificationFailed for one that has not the bytes of its name."""
        for sha256, blob in self.blobs.items():
            if archive.digest(blob) != sha256:
                raise VerificationFailed(f"{self.name} is damaged: its blob {sha256} has other bytes")


def open_bundle(path: Path) -> Bundle:
    """Open a bundle; no blob is read but the index. Raises NotFound, and InvalidFile for what is none of lorry's."""
    if not path.exists():
        raise NotFound(f"{path} does not exist; check the path")
    members = archive.read(path, _FOLDERS)
    bundle = Bundle(str(path))
    mark, index = (_document(path, members.pop(name, None)) for name in (_MARK, _INDEX))
    if mark != _LAYOUT:
        raise InvalidFile(f"{path} is no bundle: it is no OCI image layout of version 1.0.0")
    for name, blob in members.items():
        found = _BLOB.fullmatch(name)
        if not found:
            raise InvalidFile(f"{path}: {name!r} is no blob, and a bundle has nothing else")
        bundle.blobs[found[1]] = blob
    for name, sha256 in _named(path, index):
        adapter, _, tag = name.rpartition(":")
        if not _TAG.fullmatch(tag) or not _names_adapter(adapter) or tag in bundle.tags[adapter]:
            raise InvalidFile(f"{path}: its index names {name!r}, which is no version, or names it twice")
        bundle.tags[adapter][tag] = sha256
    return bundle


class _BundleRepository:
    """One adapter's repository in a bundle; see `Repository`."""

    def __init__(self, bundle: Bundle, adapter: str) -> None:
        self._bundle, self._adapter = bundle, adapter

    def __str__(self) -> str:
        return f"{self._bundle.name}: {self._adapter}"

    def blob_size(self, sha256: str) -> int | None:
        blob = self._bundle.blobs.get(sha256)
        return blob.size if blob else None

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        if sha256 not in self._bundle.blobs:
            raise NotFound(f"{self} lacks blob {sha256}")
        return self._bundle.blobs[sha256].read(start)

    def upload(self, sha256: str, size: int, open_: Callable[[], BinaryIO]) -> None:
        self._bundle.add(sha256, Blob(size, open_))

    def tags(self) -> Iterable[str]:
        return list(self._bundle.tags[self._adapter])

    def manifest(self, tag: str) -> bytes | None:
        sha256 = self._bundle.tags[self._adapter].get(tag)
        return self._bundle.small(sha256, _LARGEST_DOCUMENT) if sha256 else None

    def tag(self, tag: str, manifest: bytes) -> None:
        sha256 = hashlib.sha256(manifest).hexdigest()
        self._bundle.add(sha256, _held(manifest))
        self._bundle.tags[self._adapter][tag] = sha256


def _names_adapter(text: str) -> bool:
    try:
        return Reference.parse(text).adapter == text
    except InvalidArgument:
        return False


def _document(path: Path, blob: Blob | None) -> Any:  # noqa: ANN401  any JSON value
    if blob is None or blob.size > _LARGEST_DOCUMENT:
        raise InvalidFile(f"{path} is no bundle: it has no {_MARK} and {_INDEX}, or too large ones")
    try:
        return json.loads(b"".join(blob.read()))
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is no bundle: its {_MARK} or {_INDEX} is no JSON") from error


def _named(path: Path, index: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  any JSON value
    try:
        for each in index["manifests"]:
            yield _text(each["annotations"][_NAME]), _text(each["digest"]).removeprefix("sha256:")
    except (LookupError, TypeError) as error:
        raise InvalidFile(f"{path}: its index names no versions: {error}") from error


def _text(value: Any) -> str:  # noqa: ANN401  any JSON value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _held(data: bytes) -> Blob:
    return Blob(len(data), lambda: io.BytesIO(data))
