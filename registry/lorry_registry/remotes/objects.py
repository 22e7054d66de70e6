"""Object stores as remotes, through obstore: s3://, gs://, az:// and what else it opens.

The layout is that of a registry's home (see `lorry_registry.home.layout`) without what is a machine's own. Conditional
requests make it safe for many writers: a version is made by a put that fails where the object exists, an alias is
moved by one that fails where the object is no longer the one that was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from lorry.errors import AccessDenied, InvalidArgument, MissingExtra, NotFound, UpstreamFailed
from lorry_registry.references.names import check_name
from lorry_registry.references.semver import Version

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

_LARGEST_RECORD = 16 << 20
_WHAT = "a registry in an object store"


class ObjectRemote:
    """The versions of one adapter below a prefix of a bucket; `store` is an obstore of that prefix."""

    def __init__(self, store: ObjectStore, adapter: str) -> None:
        self._store, self._folder = store, f"names/{adapter}"

    def size(self, sha256: str) -> int | None:
        """See `Remote`."""
        import obstore

        with _told():
            try:
                return int(obstore.head(self._store, _blob(sha256))["size"])
            except FileNotFoundError:
                return None

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """See `Remote`."""
        import obstore

        with _told():
            try:
                found = obstore.get(self._store, _blob(sha256), options={"range": {"offset": start}} if start else None)
            except FileNotFoundError as error:
                raise NotFound(f"blob {sha256} is not there") from error
            for chunk in found.stream(min_chunk_size=1 << 20):
                yield bytes(chunk)

    def write(self, sha256: str, path: Path) -> None:
        """See `Remote`."""
        import obstore

        with _told():
            obstore.put(self._store, _blob(sha256), path)

    def versions(self) -> Iterable[str]:
        """See `Remote`."""
        return [str(Version.parse(name)) for name in self._names("versions")]

    def manifest(self, version: str) -> str | None:
        """See `Remote`."""
        found = self._read(f"versions/{Version.parse(version)}")
        return found.text if found else None

    def publish(self, version: str, sha256: str) -> bool:
        """See `Remote`."""
        return self._put(f"versions/{Version.parse(version)}", f"{sha256}\n".encode(), None)

    def aliases(self) -> Mapping[str, str]:
        """See `Remote`."""
        found = {name: self._read(f"aliases/{check_name(name, 'alias')}") for name in self._names("aliases")}
        return {name: each.text for name, each in found.items() if each}

    def move(self, alias: str, before: str | None, after: str) -> bool:
        """See `Remote`."""
        key = f"aliases/{check_name(alias, 'alias')}"
        found = self._read(key)
        if (found.text if found else None) != before:
            return False
        return self._put(key, f"{after}\n".encode(), found)

    def notes(self) -> Mapping[str, bytes]:
        """See `Remote`."""
        found = {name: self._read(f"notes/{Version.parse(name)}") for name in self._names("notes")}
        return {name: each.data for name, each in found.items() if each}

    def say(self, version: str, before: bytes | None, after: bytes) -> bool:
        """See `Remote`."""
        key = f"notes/{Version.parse(version)}"
        found = self._read(key)
        if (found.data if found else None) != before:
            return False
        return self._put(key, after, found)

    def _names(self, kind: str) -> list[str]:
        import obstore

        prefix = f"{self._folder}/{kind}/"
        with _told():
            return [each["path"].removeprefix(prefix) for page in obstore.list(self._store, prefix) for each in page]

    def _read(self, key: str) -> _Read | None:
        import obstore

        with _told():
            try:
                found = obstore.get(self._store, f"{self._folder}/{key}")
                if found.meta["size"] > _LARGEST_RECORD:
                    raise UpstreamFailed(f"{self._folder}/{key} there is {found.meta['size']:,} bytes, and no record")
                return _Read(bytes(found.bytes()), found.meta["e_tag"])
            except FileNotFoundError:
                return None

    def _put(self, key: str, data: bytes, before: _Read | None) -> bool:
        """Put a few bytes where there are none, or where `before` still stands; return whether they were put."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _told():
            try:
                mode: Literal["create"] | UpdateVersion = "create" if before is None else {"e_tag": before.e_tag}
                obstore.put(self._store, f"{self._folder}/{key}", data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True


class _Read(NamedTuple):
    """A few bytes, and the tag of the object they were read from."""

    data: bytes
    e_tag: str | None

    @property
    def text(self) -> str:
        """The line of text they are."""
        return self.data.decode("ascii", "replace").strip()


def open_objects(place: str, adapter: str) -> ObjectRemote:
    """Open s3://bucket/prefix and the like, with the settings and credentials the environment has for it.

    S3 is told by AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and its other variables.
    """
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise MissingExtra(_WHAT, "obstore", "objects") from error
    with _told():
        try:
            return ObjectRemote(from_url(place, client_options={"allow_http": True}), adapter)
        except ValueError as error:
            raise InvalidArgument(f"{place}: {error}") from error


def _blob(sha256: str) -> str:
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


@contextmanager
def _told() -> Iterator[None]:
    """Turn what obstore raises into our errors; NotFound is the caller's to tell."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise AccessDenied(f"the object store refuses: {_first_line(error)}") from error
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise UpstreamFailed(f"the object store failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
