"""What a file was made from, told in its own header so that a registry can record the lineage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorry.ir.adapter import Adapter
from lorry.ops.style import RECIPE_KEY


def recipe(op: str, inputs: Sequence[tuple[Adapter, float]], options: Mapping[str, Any]) -> dict[str, str]:
    """Return the header entry that tells the operation, its inputs by sha256 and weight, and its options."""
    from importlib.metadata import version

    listed = [
        {"name": path.name, "sha256": file_sha256(path), "weight": weight}
        for adapter, weight in inputs
        for path in _files(adapter)
    ]
    told = {"op": op, "inputs": listed, "options": dict(options), "lorry": version("lorry")}
    return {RECIPE_KEY: json.dumps(told, sort_keys=True, separators=(",", ":"))}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(adapter: Adapter) -> Iterable[Path]:
    for frame in adapter.origin:
        for path in frame.source.paths:
            if path.is_file():
                yield path
