"""One repository of an OCI registry: its blobs and its tags, by the distribution specification.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import urljoin

import httpx2

from lorry.errors import NotFound, UpstreamFailed, VerificationFailed
from lorry_registry.remotes.oci.modelpack import MANIFEST
from lorry_registry.remotes.oci.session import Session

_CHUNK = 1 << 20
_GONE = (404,)
_MOST_PAGES, _MOST_TAGS = 1000, 100_000


class HttpRepository:
    """Reads and writes a repository of a registry; see `Repository`."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name, self._url = session, name, f"/v2/{name}"

    def __str__(self) -> str:
        return f"{self._session.host}/{self._name}"

    def blob_size(self, sha256: str) -> int | None:
        """See `Repository`."""
        response, _ = self._session.send("HEAD", self._blob(sha256), allowed=_GONE)
        if response.status_code in _GONE:
            return None
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise UpstreamFailed(f"{self._session.host} does not tell the size of blob {sha256}")
        return int(length)

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """See `Repository`; a registry that knows no ranges sends all, and what is before `start` is passed over."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._session.stream("GET", self._blob(sha256), allowed=_GONE, headers=headers) as response:
            if response.status_code in _GONE:
                raise NotFound(f"blob {sha256} is not there")
            ahead = start
            if response.status_code == httpx2.codes.PARTIAL_CONTENT:
                told = response.headers.get("Content-Range", "")
                if not told.startswith(f"bytes {start}-"):
                    raise UpstreamFailed(f"{self._session.host} sends {told!r} where bytes from {start} were asked for")
                ahead = 0
            for chunk in response.iter_raw():  # as it comes, so that nothing is lost where the connection is cut
                if len(chunk) > ahead:
                    yield chunk[ahead:]
                ahead = max(ahead - len(chunk), 0)

    def upload(self, sha256: str, size: int, open_: Callable[[], BinaryIO]) -> None:
        """See `Repository`; the registry holds what it gets against the digest."""
        for again in (True, True, False):
            try:
                self._put(sha256, size, open_)
            except UpstreamFailed:
                if self.blob_size(sha256) == size:
                    return
                if not again:  # docker-registry refuses one of two who put the same blob at once, before it is there
                    raise
            else:
                return

    def _put(self, sha256: str, size: int, open_: Callable[[], BinaryIO]) -> None:
        response, _ = self._session.send("POST", f"{self._url}/blobs/uploads/")
        where = response.headers.get("Location", "")
        if not where:
            raise UpstreamFailed(f"{self._session.host} does not tell where to send blob {sha256}")
        url = httpx2.URL(urljoin(str(response.url), where)).copy_merge_params({"digest": f"sha256:{sha256}"})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._session.send("PUT", str(url), content=_File(open_), headers=headers, repeat=False)

    def tags(self) -> list[str]:
        """See `Repository`."""
        found: list[str] = []
        url = f"{self._url}/tags/list"
        for _ in range(_MOST_PAGES):
            if len(found) > _MOST_TAGS:
                break
            response, data = self._session.send("GET", url, allowed=_GONE)
            if response.status_code in _GONE:
                return found
            found += self._listed(data)
            further = response.links.get("next", {}).get("url", "")
            if not further:
                return found
            url = urljoin(str(response.url), further)
        raise UpstreamFailed(f"{self._session.host} lists tags without end")

    def manifest(self, tag: str) -> bytes | None:
        """See `Repository`; raise VerificationFailed where it is damaged."""
        url = f"{self._url}/manifests/{tag}"
        response, data = self._session.send("GET", url, allowed=_GONE, headers={"Accept": MANIFEST})
        if response.status_code in _GONE:
            return None
        told = response.headers.get("Docker-Content-Digest", "")
        if told.startswith("sha256:") and told != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise VerificationFailed(f"the OCI manifest of {tag} at {self._session.host} is damaged: it is not {told}")
        return data

    def tag(self, tag: str, manifest: bytes) -> None:
        """See `Repository`."""
        self._session.send("PUT", f"{self._url}/manifests/{tag}", content=manifest, headers={"Content-Type": MANIFEST})

    def _listed(self, data: bytes) -> list[str]:
        try:
            return [tag for tag in json.loads(data)["tags"] or () if isinstance(tag, str)]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise UpstreamFailed(f"{self._session.host} does not list tags as OCI registries do") from error

    def _blob(self, sha256: str) -> str:
        return f"{self._url}/blobs/sha256:{sha256}"


class _File(httpx2.SyncByteStream):
    """A request's body, read from its beginning again where the request has to be sent twice."""

    def __init__(self, open_: Callable[[], BinaryIO]) -> None:
        self._open = open_

    def __iter__(self) -> Iterator[bytes]:
        with self._open() as file:
            while chunk := file.read(_CHUNK):
                yield chunk
