"""The records of one adapter: its versions, the notes on them, its aliases and its log, each a plain file.

`versions/1.0.0` holds the sha256 of a manifest and is made once, by the first who gets there. `notes/1.0.0` and
`aliases/latest` are replaced as a whole. `log.jsonl` is only added to. An alias and a line of the log end in a check,
so that a flipped bit does not make them say something else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from lorry.errors import Conflict, InvalidArgument, InvalidFile, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.layout import Layout
from lorry_registry.home.log import Log, checksum, short
from lorry_registry.references.names import check_name
from lorry_registry.references.reference import Alias, Reference
from lorry_registry.references.semver import Version
from lorry_registry.version.notes import NOTHING, Change, Note

_DIGEST_LINE = re.compile(r"[0-9a-f]{64}\n")


class Records:
    """The records of the adapter that `reference` names, whether or not there are any."""

    def __init__(self, layout: Layout, reference: Reference) -> None:
        self._adapter, self._drafts = reference.at(None), layout.drafts
        self._folder = layout.names / reference.namespace / reference.name
        self.log = Log(self._folder / "log.jsonl", reference.adapter)

    def versions(self) -> tuple[Version, ...]:
        """Return the published versions, lowest first."""
        folder = self._folder / "versions"
        names = entries(folder, lambda name: str(Version.parse(name)) == name)
        return tuple(sorted(Version.parse(name) for name in names if not durable.is_claim(folder / name)))

    def digest(self, version: Version) -> str | None:
        """Return the manifest digest of a version, or None; raise VerificationFailed for a damaged record."""
        path = self._version_file(version)
        text = _text(path)
        if text and not _DIGEST_LINE.fullmatch(text):
            raise VerificationFailed(f"{self._adapter.at(version)}: its record {path} is damaged; it is no sha256")
        return text.strip() if text else None

    def commit(self, version: Version, digest: str) -> bool:
        """Record a version unless it is recorded already; return whether it was us. This publishes it."""
        path = self._version_file(version)
        durable.make_folder(path.parent)
        with durable.draft(self._drafts) as draft:
            durable.write(draft, f"{digest}\n".encode(), durable.READ_ONLY)
            new = durable.put_new(draft, path)
        if not new and durable.is_claim(path):
            raise Conflict(
                f"{self._adapter.at(version)} is being published by another process, or one died at it; "
                f"if none is running, delete {path} and publish again"
            )
        return new

    def settle(self) -> None:
        """Sync the names of aliases and notes: who wrote those that are there may have died before that."""
        for folder in (self._folder / "aliases", self._folder / "notes"):
            if folder.is_dir():
                durable.sync_folder(folder)

    def restore(self, version: Version, digest: str) -> bool:
        """Write the record of a version again where it is gone or another one; return whether it was."""
        path = self._version_file(version)
        if _text(path) == f"{digest}\n":
            return False
        durable.make_folder(path.parent)
        with durable.draft(self._drafts) as draft:
            durable.write(draft, f"{digest}\n".encode(), durable.READ_ONLY)
            durable.put(draft, path)
        return True

    def alias_names(self) -> list[str]:
        """Return the names of all aliases, damaged ones too."""
        return entries(self._folder / "aliases", lambda name: check_name(name, "alias") == name)

    def aliases(self) -> dict[str, Version]:
        """Return what each alias stands for."""
        found = {name: self.alias(Alias(name)) for name in self.alias_names()}
        return {name: version for name, version in found.items() if version}

    def alias(self, alias: Alias) -> Version | None:
        """Return what an alias stands for, or None; raise VerificationFailed for a damaged record."""
        path = self._folder / "aliases" / alias.name
        text = _text(path)
        if text is None:
            return None
        version, _, check = text.removesuffix("\n").partition(" ")
        if check != checksum(self._adapter.adapter, alias.name, version):
            raise VerificationFailed(f"{path} is damaged; set the alias again")
        return Version.parse(version)

    def move(self, alias: Alias, version: Version) -> bool:
        """Point an alias at a version and log it; return whether it moved.

        Where it points there already, what its mover may have died before is done: the name synced, and the log.
        """
        try:
            before = self.alias(alias)
        except VerificationFailed:
            before = None  # setting a damaged alias mends it
        folder, moved = self._folder / "aliases", before != version
        if moved:
            durable.make_folder(folder)
            with durable.draft(self._drafts) as draft:
                durable.write(
                    draft, f"{version} {checksum(self._adapter.adapter, alias.name, str(version))}\n".encode()
                )
                durable.put(draft, folder / alias.name)
        else:
            durable.sync_folder(folder)
        if moved or self.log.alias(alias) != str(version):
            self.log.add(
                "alias", alias=alias.name, before=str(before) if moved and before else None, after=str(version)
            )
        return moved

    def drop(self, alias: Alias) -> bool:
        """Forget an alias and log it; return whether there was one."""
        before = self.alias(alias)
        if before:
            (self._folder / "aliases" / alias.name).unlink(missing_ok=True)
            durable.sync_folder(self._folder / "aliases")
        if before or alias.name in self.log.kept_aliases():  # who dropped it may have died before this
            self.log.add("alias", alias=alias.name, before=str(before) if before else None, after=None)
        return before is not None

    def note(self, version: Version) -> Note:
        """Return what is said of a version; raise VerificationFailed for a damaged note."""
        data = self.written_note(version)
        try:
            return NOTHING if data is None else Note.from_bytes(data)
        except InvalidFile as error:
            path = self._note_file(version)
            raise VerificationFailed(f"{path} is damaged ({error}); yank or deprecate the version again") from error

    def noted(self) -> Mapping[Version, str]:
        """Return the notes there are as they were written, damaged ones too, to tell whether one changed."""
        folder = self._folder / "notes"
        names = entries(folder, lambda name: str(Version.parse(name)) == name)
        return {Version.parse(name): (folder / name).read_text(encoding="utf-8", errors="replace") for name in names}

    def written_note(self, version: Version) -> bytes | None:
        """Return the note on a version as it was written, None where there is none."""
        try:
            return self._note_file(version).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_note(self, version: Version, data: bytes, *, new: bool = False, event: str = "note") -> bool:
        """Put a note on a version and log it, or where it is to be `new` only if there is none; return whether."""
        path, note = self._note_file(version), Note.from_bytes(data)
        durable.make_folder(path.parent)
        with durable.draft(self._drafts) as draft:
            durable.write(draft, data)
            if new and not durable.put_new(draft, path):
                return False
            if not new:
                durable.put(draft, path)
        self.log.add(event, version=str(version), **note._asdict(), note=short(data))
        return True

    def yanked(self, version: Version) -> bool:
        """Tell whether only its exact number may name a version; raise VerificationFailed for a damaged note."""
        return self.note(version).yanked is not None

    def say(self, version: Version, change: Change, event: str) -> bool:
        """Change a version's note and log it as `event`; return whether it says something else now.

        Where it says that already, what its writer may have died before is done: the name synced, and the log.
        """
        try:
            before = self.note(version)
        except VerificationFailed:
            before = None  # what is said now mends it
        after = change(before or NOTHING)
        if after != before:
            return self.write_note(version, after.to_bytes(), event=event)
        if (written := self.written_note(version)) is not None:
            durable.sync_folder(self._folder / "notes")
            if not self.log.has_note(version, written):
                self.log.add(event, version=str(version), **after._asdict(), note=short(written))
        return False

    def add_checks(self) -> None:
        """Give the aliases and the log of layout 1 the checks they did not have; what has them stays as it is."""
        for name in self.alias_names():
            path = self._folder / "aliases" / name
            version = (_text(path) or "").removesuffix("\n")
            if " " not in version:
                self._replace(path, f"{version} {checksum(self._adapter.adapter, name, version)}\n".encode())
        if (checked := self.log.with_checks()) is not None:
            self._replace(self._folder / "log.jsonl", checked)

    def _replace(self, path: Path, data: bytes) -> None:
        with durable.draft(self._drafts) as draft:
            durable.write(draft, data)
            durable.put(draft, path)

    def _note_file(self, version: Version) -> Path:
        return self._folder / "notes" / str(version)

    def _version_file(self, version: Version) -> Path:
        return self._folder / "versions" / str(version)


def entries(folder: Path, ours: Callable[[str], bool]) -> list[str]:
    """List the names in a folder that are ours; what else a system leaves there (.DS_Store, .nfs…) is not."""

    def accepted(name: str) -> bool:
        try:
            return ours(name)
        except InvalidArgument:
            return False

    try:
        return sorted(filter(accepted, os.listdir(folder)))  # noqa: PTH208  names alone are wanted, of thousands
    except (FileNotFoundError, NotADirectoryError):
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
