"""Another registry's home as a remote: file:// of a folder on this machine, or of one that several share over NFS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from lorry.errors import Conflict, InvalidArgument, NotFound, UpstreamFailed
from lorry_registry.disk import durable
from lorry_registry.home.blobs import duplicate, measure
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Alias, Reference
from lorry_registry.references.semver import Version

_CHUNK = 1 << 20


class FolderRemote:
    """The versions of one adapter in a registry's home."""

    def __init__(self, home: Path, adapter: str) -> None:
        self._store = LocalStore(home)
        self._records = self._store.records(Reference.parse(adapter))

    def size(self, sha256: str) -> int | None:
        """See `Remote`."""
        path = self._store.blobs.path(sha256)
        if not path.is_file():
            return None
        self._store.blobs.rely_on(sha256)  # whoever asks may be about to publish a version of it
        return path.stat().st_size

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """See `Remote`."""
        path = self._store.blobs.path(sha256)
        if not path.is_file():
            raise NotFound(f"{path} is not there")
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(_CHUNK):
                yield chunk

    def write(self, sha256: str, path: Path) -> None:
        """See `Remote`."""
        self._store.layout.prepare()
        with durable.draft(self._store.layout.drafts) as draft:
            duplicate(path, draft, durable.READ_ONLY)
            with durable.syncing([draft]):
                content = measure(draft)
            if content.sha256 != sha256:
                raise UpstreamFailed(f"{path} changed while it was copied; try again")
            self._store.blobs.add(draft, content)

    def versions(self) -> Iterable[str]:
        """See `Remote`."""
        return [str(version) for version in self._records.versions()]

    def manifest(self, version: str) -> str | None:
        """See `Remote`."""
        return self._records.digest(Version.parse(version))

    def publish(self, version: str, sha256: str) -> bool:
        """See `Remote`."""
        self._store.layout.prepare()
        new = self._records.commit(Version.parse(version), sha256)
        self._records.settle()
        self._records.log.add_publish(Version.parse(version), sha256)
        return new

    def aliases(self) -> Mapping[str, str]:
        """See `Remote`."""
        return {name: str(version) for name, version in self._records.aliases().items()}

    def move(self, alias: str, before: str | None, after: str) -> bool:
        """See `Remote`; plain files have no compare-and-swap, so of two at once the later one stays."""
        if self.aliases().get(alias) != before:
            return False
        self._store.layout.prepare()
        self._records.move(Alias(alias), Version.parse(after))
        return True

    def notes(self) -> Mapping[str, bytes]:
        """See `Remote`."""
        found = {version: self._records.written_note(version) for version in self._records.versions()}
        return {str(version): data for version, data in found.items() if data is not None}

    def say(self, version: str, before: bytes | None, after: bytes) -> bool:
        """See `Remote`; of two at once who change a note that is there, the later one stays, as with `move`."""
        if self._records.written_note(Version.parse(version)) != before:
            return False
        self._store.layout.prepare()
        return self._records.write_note(Version.parse(version), after, new=before is None)


def open_folder(place: str, adapter: str) -> FolderRemote:
    """Open file:///path/of/a/registry; raise InvalidArgument for an address of another machine."""
    return FolderRemote(_home(place), adapter)


def adapters_in(place: str) -> list[str]:
    """Return the names of the adapters in the registry at an address, see `open_folder`."""
    return [reference.adapter for reference, _ in LocalStore(_home(place)).adapters()]


def _home(place: str) -> Path:
    parts = urlsplit(place)
    if parts.netloc not in ("", "localhost"):
        raise InvalidArgument(f"{place} names another machine; a folder's address is file:///path/of/it")
    home = Path(url2pathname(unquote(parts.path)))
    if not home.is_absolute() or home == Path(home.anchor):
        raise InvalidArgument(f"{place} is no folder of a registry; write file:///path/of/it")
    if home.exists() and not home.is_dir():
        raise Conflict(f"{home} is a file, and a registry is a folder")
    return home
