"""The versions of one adapter in a repository of the Hub.

Aliases and notes stand in two small files on the main branch, each changed by a commit on the very one that was
read. The alias "latest" is not written down: it is the highest stable version that was not yanked, always.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lorry.errors import Conflict, InvalidArgument, InvalidFile, NotFound, VerificationFailed
from lorry.ops.writing.write import chosen
from lorry.plugin.host import host
from lorry_registry.home.blobs import measure
from lorry_registry.references.reference import LATEST, Digest, Selector, parse_selector
from lorry_registry.references.resolve import meant
from lorry_registry.references.semver import Version
from lorry_registry.remotes.hub.address import HubAddress
from lorry_registry.remotes.hub.contents import ALIASES, NOTES, Wishes, contents
from lorry_registry.remotes.hub.publishing import MOST_TURNS, Release, publish
from lorry_registry.remotes.hub.repository import MAIN, HubRepository
from lorry_registry.remotes.hub.versions import LARGEST, MANIFEST, HubVersions, Standing
from lorry_registry.remotes.remote_notes import notes_there
from lorry_registry.version.manifest import Manifest
from lorry_registry.version.notes import NOTHING

_CHUNK = 1 << 20
_FLAGS = {"": None, "true": True, "false": False}


class _Place(NamedTuple):
    """Where a blob is: a file of a commit."""

    path: str
    commit: str
    size: int


class HubRemote:
    """The versions in one repository, or the one that `revision` means.

    What is written is staged: the files must stay until the version is published. A blob is there if a version has it
    that was asked for; until one is, any version.
    """

    def __init__(self, repository: HubRepository, revision: str | None = None, wishes: Wishes | None = None) -> None:
        self._repository, self._revision, self._wishes = repository, revision, wishes or Wishes()
        self._versions = HubVersions(repository)
        self._staged: dict[str, Path] = {}
        self._known: dict[str, _Place] = {}
        self._asked = False

    def size(self, sha256: str) -> int | None:
        """See `Remote`."""
        if sha256 in self._staged:
            return self._staged[sha256].stat().st_size
        if not self._asked:
            self._know_all()
        return self._known[sha256].size if sha256 in self._known else None

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """See `Remote`."""
        if sha256 in self._staged:
            with self._staged[sha256].open("rb") as file:
                file.seek(start)
                while chunk := file.read(_CHUNK):
                    yield chunk
            return
        if sha256 not in self._known:
            self._know_all()
        if sha256 not in self._known:
            raise NotFound(f"hf://{self._repository.name}: no version has sha256:{sha256}")
        place = self._known[sha256]
        try:
            yield from self._repository.read(place.path, place.commit, start, place.size)
        except NotFound as error:
            raise VerificationFailed(f"{error}, which its manifest names; clone a version, @v1.0.0 say") from error

    def write(self, sha256: str, path: Path) -> None:
        """See `Remote`."""
        if self._revision:
            raise InvalidArgument(f"push to hf://{self._repository.name}, without @{self._revision}")
        self._staged[sha256] = path

    def versions(self) -> Iterable[str]:
        """See `Remote`; raise NotFound where there is no such repository."""
        offered = self._offered()
        if not offered:
            self._repository.tags()
        return [str(version) for version in offered]

    def manifest(self, version: str) -> str | None:
        """See `Remote`."""
        self._asked = True
        commit = self._offered().get(Version.parse(version))
        standing = self._know(commit) if commit else None
        return standing.digest if standing else None

    def publish(self, version: str, sha256: str) -> bool:
        """See `Remote`."""
        data = b"".join(self.read(sha256))
        manifest = Manifest.from_bytes(data)
        if manifest.id.version != version:
            raise InvalidArgument(f"sha256:{sha256[:12]} is the manifest of {manifest.reference}, not of {version}")
        self._prepare()
        with tempfile.TemporaryDirectory(prefix="lorry-") as folder:

            @cache
            def made() -> Mapping[str, Path | bytes]:
                blobs = {file.sha256: self._local(file.sha256, Path(folder)) for file in manifest.files}
                return contents(
                    manifest, data, blobs, Path(folder), repository=self._repository.name, wishes=self._wishes
                )

            return publish(self._repository, self._versions, Release(manifest, sha256, made))

    def aliases(self) -> Mapping[str, str]:
        """See `Remote`; where a revision was named, "latest" is what it means."""
        if self._revision:
            return {LATEST: str(max(self._offered()))}
        return {alias: str(version) for alias, version in self._aliases(self._versions.tagged()).items()}

    def move(self, alias: str, before: str | None, after: str) -> bool:
        """See `Remote`; "latest" moves by itself."""
        if alias == LATEST:
            return self.aliases().get(LATEST) == after
        return self._edit(ALIASES, alias, before, after)

    def notes(self) -> Mapping[str, bytes]:
        """See `Remote`."""
        return {version: text.encode() for version, text in self._table(NOTES).entries.items()}

    def say(self, version: str, before: bytes | None, after: bytes) -> bool:
        """See `Remote`."""
        return self._edit(NOTES, version, None if before is None else before.decode(), after.decode())

    def _know(self, commit: str) -> Standing | None:
        """Take down where the blobs of a version are; return its manifest."""
        standing = self._versions.at(commit)
        if standing:
            self._known[standing.digest] = _Place(MANIFEST, commit, standing.size)
            self._known |= {file.sha256: _Place(file.path, commit, file.size) for file in standing.manifest.files}
        return standing

    def _know_all(self) -> None:
        for commit in self._offered().values():
            self._know(commit)

    def _offered(self) -> Mapping[Version, str]:
        """Return the commits of the versions that are spoken of; raise NotFound where a revision names nothing."""
        tagged = self._versions.tagged()
        return self._meant(self._revision, tagged) if self._revision else tagged

    def _meant(self, revision: str, tagged: Mapping[Version, str]) -> Mapping[Version, str]:
        """Return the one version that a revision means: by what selects versions, else by branch, tag or commit."""
        chosen = [version for version in self._selected(_selector(revision), tagged) if version in tagged]
        if chosen:
            return {max(chosen): tagged[max(chosen)]}
        place = f"hf://{self._repository.name}"
        commit = self._repository.commit_of(revision)
        if commit is None:
            there = f"versions: {', '.join(map(str, sorted(tagged, reverse=True)))}" if tagged else "it has no version"
            raise NotFound(f"{place} is not there, or has no {revision}, or this token may not see it; {there}")
        standing = self._versions.at(commit)
        if standing is None:
            raise NotFound(
                f"{place}@{revision} was not pushed by lorry: it has no {MANIFEST}; bring its files in with: lorry add"
            )
        return {standing.version: commit}

    def _selected(self, selector: Selector | None, tagged: Mapping[Version, str]) -> Iterable[Version]:
        if selector is None:
            return ()
        if isinstance(selector, Digest):
            standing = {version: self._versions.at(commit) for version, commit in tagged.items()}
            return [version for version, each in standing.items() if each and each.digest.startswith(selector.prefix)]
        found = meant(selector, lambda: tagged, lambda alias: self._aliases(tagged).get(alias.name))
        return found if isinstance(selector, Version) else self._not_yanked(found)

    def _aliases(self, tagged: Iterable[Version]) -> Mapping[str, Version]:
        told = {alias: Version.parse(text) for alias, text in self._table(ALIASES).entries.items()}
        stable = self._not_yanked(version for version in tagged if version.stable)
        return {**told, **({LATEST: max(stable)} if stable else {})}

    def _not_yanked(self, versions: Iterable[Version]) -> list[Version]:
        notes = notes_there(self)
        return [version for version in versions if notes.get(version, NOTHING).yanked is None]

    def _prepare(self) -> None:
        """Make the repository where there is none; raise Conflict where it is not as public as it was asked to be."""
        public = self._wishes.public
        private = self._repository.private()
        if private is None:
            self._repository.create(private=not public)
        elif public is not None and private is public:
            raise Conflict(
                f"hf://{self._repository.name} is {'private' if private else 'public'} already; change that on its "
                "page on the Hub, or push without -O public"
            )

    def _local(self, sha256: str, folder: Path) -> Path:
        """Return a blob that is to be committed as a file here; one that only the Hub has is fetched and checked."""
        if sha256 not in self._staged:
            path = folder / sha256
            with path.open("wb") as file:
                file.writelines(self.read(sha256))
            if measure(path).sha256 != sha256:
                raise VerificationFailed(f"hf://{self._repository.name}: the bytes there are not sha256:{sha256}")
            self._staged[sha256] = path
        return self._staged[sha256]

    def _table(self, path: str) -> _Table:
        """Read one of the two small files as of now."""
        head = self._repository.commit_of(MAIN)
        data = self._repository.small_file(path, head, LARGEST) if head else None
        try:
            entries = json.loads(data) if data is not None else {}
        except ValueError as error:
            raise InvalidFile(f"hf://{self._repository.name}: {path} is no JSON: {error}") from error
        if not isinstance(entries, dict) or not all(isinstance(each, str) for each in entries.values()):
            raise InvalidFile(f"hf://{self._repository.name}: {path} should be an object of texts; mend it there")
        return _Table(head, entries)

    def _edit(self, path: str, key: str, before: str | None, after: str) -> bool:
        """Change one entry of a small file if it is `before` still; return whether that was done."""
        for _ in range(MOST_TURNS):
            table = self._table(path)
            if table.head is None or table.entries.get(key) != before:
                return False
            data = json.dumps({**table.entries, key: after}, indent=2, sort_keys=True).encode() + b"\n"
            if self._repository.commit(MAIN, table.head, f"Set {key} in {path}", {path: data}):
                return True
        raise self._repository.too_busy(MOST_TURNS)


class _Table(NamedTuple):
    """The entries of a small file, and the commit of the main branch that they were read in."""

    head: str | None
    entries: Mapping[str, str]


def open_hub(place: str, _: str, *, public: str = "", also: str = "", base_model: str = "") -> HubRemote:
    """Open hf://owner/name, or a revision of it.

    public: "true" makes a new repository public. also: formats to put beside the file in the root, with commas between
    them. base_model: the base's repository, where it is not the one that its table names.
    """
    address = HubAddress.parse(place)
    formats = tuple(each.strip() for each in also.split(",") if each.strip())
    for each in formats:
        chosen(each, host())
    if public not in _FLAGS:
        raise InvalidArgument(f"public={public!r} is neither true nor false")
    wishes = Wishes(_FLAGS[public], formats, HubAddress.parse(f"hf://{base_model}").repository if base_model else "")
    return HubRemote(HubRepository(address.repository), address.revision, wishes)


def _selector(revision: str) -> Selector | None:
    """Read what selects versions, 1.2.0 as v1.2.0 too; None for what is a branch or a commit at most."""
    try:
        return parse_selector(revision[1:] if re.match(r"v[0-9]", revision) else revision)
    except InvalidArgument:
        return None
