"""Where everything stands in a registry's home folder.

FORMAT                                   version of this layout
blobs/sha256/ab/abcd…                    every file and manifest, under the hash of its bytes, never changed;
                                         a link where it was added in place
names/<namespace>/<name>/versions/1.0.0  the manifest's sha256; made by one atomic link, never changed
names/<namespace>/<name>/notes/1.0.0     what is said of a version: yanked, deprecated; replaced as a whole
names/<namespace>/<name>/aliases/latest  the version it stands for
names/<namespace>/<name>/log.jsonl       what happened, one line each, only ever added to
bases.json                               names given to base models elsewhere on this machine
views/<manifest sha256>/<path>           files under their own names, made from blobs when first opened
hub/                                     what clients of `lorry serve-hub` wrote; see lorry_registry.hub
quarantine/<id>/                         other people's files that are not in, with what was found about them
tmp/                                     drafts
index.sqlite                             a cache of the manifests; may be deleted at any time
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lorry.errors import Incompatible, InvalidArgument, LorryError
from lorry_registry.disk import durable

FORMAT = "2"
OLDER = ("1",)
"""Layouts that become this one when they are opened; see `lorry_registry.home.upgrade`.

1: aliases and lines of the log had no checks, and there was no hub/, whose files such a lorry would take for garbage.
"""


def default_home() -> Path:
    """Return LORRY_HOME, or "lorry" in the platform's folder for user data."""
    home = os.environ.get("LORRY_HOME")
    if home:
        return Path(home).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("lorry", appauthor=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside one home; nothing is made until `prepare`."""

    home: Path

    @property
    def blobs(self) -> Path:
        """Folder of the blobs."""
        return self.home / "blobs" / "sha256"

    @property
    def names(self) -> Path:
        """Folder of the namespaces."""
        return self.home / "names"

    @property
    def views(self) -> Path:
        """Folder of the views."""
        return self.home / "views"

    @property
    def hub(self) -> Path:
        """Folder of what is served by the Hub's protocol."""
        return self.home / "hub"

    @property
    def quarantine(self) -> Path:
        """Folder of other people's files that are not in."""
        return self.home / "quarantine"

    @property
    def drafts(self) -> Path:
        """Folder of unfinished files."""
        return self.home / "tmp"

    @property
    def bases(self) -> Path:
        """File of the names of base models."""
        return self.home / "bases.json"

    @property
    def index(self) -> Path:
        """File of the index."""
        return self.home / "index.sqlite"

    @property
    def writable(self) -> bool:
        """Whether the home may be written to, or made."""
        # In this order: another process may be making it.
        return not self.home.exists() or os.access(self.home, os.W_OK)

    @property
    def scratch(self) -> Layout:
        """Where what is made to be read is made (views, what is served): here, or beside a home that is read-only."""
        if self.writable:
            return self
        from lorry_registry.disk.scratch import scratch_folder

        return Layout(scratch_folder(self.home))

    def check(self) -> bool:
        """Return whether an older lorry laid the home out.

        Raises InvalidArgument where it is no folder, Incompatible where a newer lorry laid it out.
        """
        if self.home.exists() and not self.home.is_dir():
            raise InvalidArgument(f"{self.home} is a file, and a registry is a folder; point LORRY_HOME at one")
        found = self.mark
        if found not in {None, FORMAT, *OLDER}:
            raise Incompatible(
                f"{self.home} is a registry of layout {str(found)[:20]!r}, this lorry knows {FORMAT}; "
                "upgrade lorry, or point LORRY_HOME elsewhere"
            )
        return found in OLDER

    def prepare(self) -> None:
        """Make what is missing of a home that is about to be written to; raise LorryError where it is read-only."""
        self.check()
        if not self.writable:
            raise LorryError(
                f"{self.home} is read-only for this user, and nothing in it was changed; use a registry of your "
                "own (LORRY_HOME names it), or ask whoever keeps this one"
            )
        for folder in (self.blobs, self.names, self.drafts):
            durable.make_folder(folder)
        if self.mark is None:
            with durable.draft(self.drafts) as draft:
                durable.write(draft, f"{FORMAT}\n".encode())
                if not durable.put_new(draft, self.home / "FORMAT") and self.mark is None:
                    durable.put(draft, self.home / "FORMAT")  # only claimed, by one who died at it

    @property
    def mark(self) -> str | None:
        """The layout that the home is marked with, None where it is not marked yet."""
        try:
            return (self.home / "FORMAT").read_text(encoding="ascii", errors="replace").strip() or None
        except FileNotFoundError:
            return None
