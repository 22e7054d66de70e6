"""A stand-in for Civitai: its documented API (v1), over files of a test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.ops.disk.hashes import hash_file

from .servers import Answer, Asked, Reply, as_json

MODEL, VERSION, FILE = 7, 11, 13
TOKEN = "t0ken"
PNG = b"\x89PNG\r\n\x1a\n"


def model(weights: Path, url: str, **changed: Any) -> dict[str, Any]:
    """Return what the API tells of a model with one version of one file, parts of it changed."""
    told: dict[str, Any] = {
        "id": MODEL,
        "name": "Ink Cat",
        "description": "<h1>Ink</h1><p>Use at <b>0.8</b> &amp; up</p><script>alert(1)</script>",
        "type": "LORA",
        "tags": ["style", "ink"],
        "creator": {"username": "somebody", "image": None},
        "allowNoCredit": True,
        "allowCommercialUse": ["Image", "Rent"],
        "allowDerivatives": True,
        "allowDifferentLicense": False,
        "modelVersions": [
            {
                "id": VERSION,
                "name": "v2",
                "baseModel": "SD 1.5",
                "trainedWords": ["inkcat", "brush"],
                "description": "<p>Second try</p>",
                "files": [
                    {
                        "id": FILE,
                        "name": weights.name,
                        "type": "Model",
                        "primary": True,
                        "metadata": {"format": "SafeTensor"},
                        "hashes": {**hash_file(weights).named(), "AutoV3": hash_file(weights).autov3[:12].upper()},
                        "downloadUrl": f"{url}/api/download/models/{VERSION}",
                    }
                ],
                "images": [
                    {"url": f"{url}/one.png", "type": "image", "nsfwLevel": 1},
                    {"url": f"{url}/two.png", "type": "image", "nsfwLevel": 8},
                    {"url": f"{url}/three.mp4", "type": "video", "nsfwLevel": 1},
                ],
            }
        ],
    }
    told["modelVersions"][0] |= changed.pop("version", {})
    return told | changed


def answers(weights: Path, at: Mapping[str, str], elsewhere: str, **changed: Any) -> Answer:
    """Return what serves it: `at["url"]` is where it runs, and the bytes are at a path of `elsewhere`, another host."""

    def answer(asked: Asked) -> Reply | None:
        told = model(weights, at["url"], **changed)
        (version,) = told["modelVersions"]
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        one = version | {"modelId": MODEL, "model": {"name": told["name"], "type": told["type"]}}
        if asked.path.startswith("/api/download/"):
            if asked.headers.get("authorization") != f"Bearer {TOKEN}":
                return Reply(status=401)
            return Reply(status=307, headers={"Location": f"{elsewhere}/blob?X-Amz-Signature=1"})
        replies = {
            f"/api/v1/models/{MODEL}": told,
            f"/api/v1/model-versions/{VERSION}": one,
            f"/api/v1/model-versions/by-hash/{digest}": one,
        }
        if asked.path in replies:
            return as_json(replies[asked.path])
        return Reply(PNG) if re.fullmatch(r"/\w+\.png", asked.path) else None

    return answer
