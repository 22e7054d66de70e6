"""A version as OCI registries hold it: an artifact in the layout of the CNCF's ModelPack.

https://github.com/modelpack/model-spec: the config says what it is, and every file is a layer, as it is. ModelPack has
no field for an adapter's base, so that annotations tell it. The last layer is lorry's own manifest, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any, NamedTuple

from lorry.errors import InvalidFile
from lorry_registry.version import canonical_json
from lorry_registry.version.manifest import File, Manifest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
"""The media type of OCI manifests."""

_TYPE = "application/vnd.cncf.model"
_LAYERS = {"weights": "weight", "embedding": "weight", "config": "weight.config"}
_MANIFEST_LAYER = "weight.config"
_DOCUMENT = "doc"
MANIFEST_PATH = ".lorry/manifest.json"
"""Where lorry's manifest is among the files."""

_HELD, _VERSION = "lorry.manifest", "org.opencontainers.image.version"
EMPTY = b"{}"
"""The config of what needs none."""

_NOTE_TYPE = "application/vnd.lorry.note.v1+json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Held(NamedTuple):
    """The version an artifact is, and the sha256 of its manifest."""

    version: str
    manifest: str


class Artifact(NamedTuple):
    """The two documents of an artifact: its config, which is a blob, and its OCI manifest, which has the tag."""

    config: bytes
    manifest: bytes


def pack(data: bytes) -> Artifact:
    """Describe the version of a stored manifest; the same bytes each time. Raises InvalidFile for what is none."""
    found = Manifest.from_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    layers = [_layer(file) for file in found.files]
    layers.append(_descriptor(f"{_MANIFEST_LAYER}.v1.raw", digest, len(data), MANIFEST_PATH))
    config = canonical_json.dump(
        {
            "descriptor": _descriptor_of(found),
            "config": {"format": found.adapter.format},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
    )
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": f"{_TYPE}.manifest.v1+json",
        "config": _descriptor("config.v1+json", hashlib.sha256(config).hexdigest(), len(config)),
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": found.id.title or str(found.reference),
            _VERSION: found.id.version,
            "lorry.base": found.base.id,
            "lorry.base.fingerprint": found.base.fingerprint,
            "lorry.kinds": ",".join(found.adapter.kinds),
            _HELD: digest,
        },
    }
    return Artifact(config, canonical_json.dump(document))


def held(document: bytes) -> Held | None:
    """Return the version that an OCI manifest is, None for one that lorry did not write.

    Raises InvalidFile where it says that it is one and cannot be.
    """
    try:
        annotations = json.loads(document)["annotations"]
        version, digest = annotations[_VERSION], annotations[_HELD]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not (isinstance(version, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise InvalidFile("its OCI manifest names no manifest of lorry's; push the version again")
    return Held(version, digest)


def embed(data: bytes) -> bytes:
    """Write an OCI manifest of one short text, which is inside it; `data` and `EMPTY` are its blobs."""
    kept = _blob("application/json", data) | {"data": base64.b64encode(data).decode()}
    return canonical_json.dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": _NOTE_TYPE,
            "config": _blob("application/vnd.oci.empty.v1+json", EMPTY),
            "layers": [kept],
        }
    )


def embedded(document: bytes) -> bytes:
    """Return the text that `embed` was given, or the whole document where that is damaged or was none."""
    try:
        (kept,) = json.loads(document)["layers"]
        data = base64.b64decode(kept["data"], validate=True)
        return data if kept == _blob(kept["mediaType"], data) | {"data": kept["data"]} else document
    except (ValueError, LookupError, TypeError, RecursionError):
        return document


def _blob(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _layer(file: File) -> dict[str, Any]:
    return _descriptor(f"{_LAYERS.get(file.role, _DOCUMENT)}.v1.raw", file.sha256, file.size, file.path)


def _descriptor(kind: str, sha256: str, size: int, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{sha256}", "size": size}
    if path:
        found["annotations"] = {"org.cncf.model.filepath": path, "org.opencontainers.image.title": path}
    return found


def _descriptor_of(found: Manifest) -> dict[str, Any]:
    told = {
        "name": found.reference.adapter,
        "version": found.id.version,
        "family": found.base.id,
        "title": found.id.title,
        "description": found.id.description,
        "authors": list(found.id.authors),
        "licenses": [found.id.license] if found.id.license else [],
    }
    return {name: value for name, value in told.items() if value}
