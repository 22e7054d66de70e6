"""The log of one adapter: what happened to its versions, notes and aliases, a line of JSON for each event.

It is only added to. Every line ends in a check, so that a flipped bit does not make it say something else.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from lorry_registry.disk import durable
from lorry_registry.references.reference import Alias
from lorry_registry.references.semver import Version
from lorry_registry.version.notes import Note


class Log:
    """The log at `path` of the adapter of this name, whether or not it is there."""

    def __init__(self, path: Path, adapter: str) -> None:
        self._path, self._adapter = path, adapter

    def add(self, event: str, **facts: str | None) -> None:
        """Add an event, with the time in UTC."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **facts}
        checked = {**entry, "check": checksum(self._adapter, json.dumps(entry))}
        durable.append(self._path, json.dumps(checked).encode())

    def history(self) -> list[dict[str, Any]]:
        """Return the events, oldest first; a line that a crash tore, or that is damaged, is left out."""
        return [entry for line in self._lines() if (entry := self._entry(line)) is not None]

    def torn_lines(self) -> int:
        """Count the lines that a crash tore, and damaged ones."""
        return sum(self._entry(line) is None for line in self._lines())

    def add_publish(self, version: Version, digest: str) -> None:
        """Add a publish, unless it stands here."""
        if str(version) not in self.published():
            self.add("publish", version=str(version), manifest=digest)

    def published(self) -> dict[str, str]:
        """Return when each version was published."""
        events = (entry for entry in self.history() if entry.get("event") == "publish")
        return {str(entry.get("version")): str(entry.get("time")) for entry in events}

    def has_note(self, version: Version, written: bytes | None) -> bool:
        """Tell whether a note on a version stands here as it is written, or none where it is None."""
        told = [entry["note"] for entry in self.history() if "note" in entry and entry.get("version") == str(version)]
        return not told if written is None else short(written) in told

    def digests(self) -> dict[str, str]:
        """Return the manifest digest of each version."""
        events = (entry for entry in self.history() if entry.get("event") == "publish")
        return {str(entry.get("version")): str(entry.get("manifest")) for entry in events}

    def alias(self, alias: Alias) -> str | None:
        """Return what an alias stands for."""
        told = [entry.get("after") for entry in self.history() if entry.get("alias") == alias.name]
        return told[-1] if told else None

    def kept_aliases(self) -> set[str]:
        """Return the aliases that were set, and never dropped."""
        told = [(entry["alias"], entry.get("after")) for entry in self.history() if "alias" in entry]
        return {name for name, _ in told} - {name for name, after in told if after is None}

    def with_checks(self) -> bytes | None:
        """Return the log of layout 1 with the checks it did not have; None where it has them all."""
        before = self._lines()
        after = [self._with_check(line) for line in before]
        return b"".join(line + b"\n" for line in after) if after != before else None

    def _with_check(self, line: bytes) -> bytes:
        entry = _json(line)
        if not isinstance(entry, dict) or "check" in entry:  # torn, or as it should be
            return line
        if "yanked" in entry:
            entry["note"] = short(Note(*map(entry.get, ("yanked", "deprecated", "replaced_by"))).to_bytes())
        return json.dumps({**entry, "check": checksum(self._adapter, json.dumps(entry))}).encode()

    def _entry(self, line: bytes) -> dict[str, Any] | None:
        """Read a line of the log; None for one that is not as it was written, or another adapter's."""
        entry = _json(line)
        if not isinstance(entry, dict):
            return None
        check = entry.pop("check", None)
        return entry if check == checksum(self._adapter, json.dumps(entry)) else None

    def _lines(self) -> list[bytes]:
        return self._path.read_bytes().splitlines() if self._path.is_file() else []


def checksum(adapter: str, *said: str) -> str:
    """Return a short digest of what a record says and of whose it is."""
    return short("\n".join([adapter, *said]).encode())


def short(data: bytes) -> str:
    """Return a digest that tells a flipped bit, and no forgery."""
    return hashlib.sha256(data).hexdigest()[:8]


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
