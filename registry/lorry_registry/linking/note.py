"""The note in a tool's folder on what was put there: nothing else is ever replaced or removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lorry.errors import InvalidArgument, InvalidFile
from lorry_registry.disk import durable
from lorry_registry.references.names import check_path

NOTE = ".lorry-links.json"
HARD, SIDE, THERE = "hard link", "side file", "was there"


@dataclass(frozen=True, slots=True)
class Link:
    """One file that was put in a tool's folder: where in it, which bytes, and of which version.

    how: "clone", "hard link", "copy", "converted to FORMAT" or "side file"; "was there" for what lorry did not put
    there, and never takes away. new: whether it was put there now.
    """

    path: str
    sha256: str
    reference: str
    how: str
    new: bool = True


def read_note(folder: Path) -> dict[str, Link]:
    """Return what was put in a folder, by its path there."""
    path = folder / NOTE
    if not path.exists():
        return {}
    try:
        links = [Link(**each) for each in json.loads(path.read_bytes())["links"]]
        return {check_path(each.path): each for each in links}
    except (ValueError, KeyError, TypeError, InvalidArgument) as error:
        raise InvalidFile(f"{path} is damaged ({error}); move it away, and what lorry put there too") from error


def write_note(folder: Path, links: Mapping[str, Link]) -> None:
    """Write down what was put in a folder; nothing where there is nothing."""
    path = folder / NOTE
    if not links:
        path.unlink(missing_ok=True)
        return
    told = {"schema_version": 1, "links": [asdict(each) | {"new": False} for _, each in sorted(links.items())]}
    with durable.draft(folder) as draft:
        durable.write(draft, json.dumps(told, indent=2, ensure_ascii=False).encode())
        durable.put(draft, path)
