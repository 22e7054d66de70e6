"""An OCI registry to test against, as strict as the distribution specification lets one be.

Bytes that are not those of the digest are refused, as are chunks out of order, manifests whose blobs are missing, and
whoever has no token where tokens are asked for. `cut` and `rot` harm what is served; `log` is what was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qs, urlsplit

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_ROUTES = [
    (
        method,
        re.compile(path.replace("NAME", f"(?P<name>{_NAME})").replace("DIGEST", "sha256:(?P<sha256>[0-9a-f]{64})")),
    )
    for method, path in (
        ("head_blob", "HEAD /v2/NAME/blobs/DIGEST"),
        ("get_blob", "GET /v2/NAME/blobs/DIGEST"),
        ("start_upload", "POST /v2/NAME/blobs/uploads/"),
        ("add_chunk", r"PATCH /v2/NAME/blobs/uploads/(?P<number>\d+)"),
        ("end_upload", r"PUT /v2/NAME/blobs/uploads/(?P<number>\d+)"),
        ("get_manifest", "GET /v2/NAME/manifests/(?P<reference>[^/]+)"),
        ("put_manifest", "PUT /v2/NAME/manifests/(?P<reference>[^/]+)"),
        ("list_tags", "GET /v2/NAME/tags/list"),
    )
]
_PAGE = 3

Headers: TypeAlias = dict[str, str]


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: Headers = {}  # noqa: RUF012  never changed


class OciRegistry:
    """The state of a registry; `login` is the "user:password" that tokens, or `basic` access, are given for."""

    def __init__(self, login: str = "", *, basic: bool = False, ranges: bool = True, immutable: bool = False) -> None:
        self.login, self.basic, self.ranges, self.immutable = login, basic, ranges, immutable
        self.url = ""
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.log: list[tuple[str, str, Headers]] = []
        self.cut = 0
        self.leads_to = ""
        self.realm = ""
        self._uploads: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """Where it listens."""
        return urlsplit(self.url).netloc

    def rot(self, data: bytes) -> None:
        """Flip a bit of every blob that is `data`."""
        for key, held in self.blobs.items():
            if held == data:
                self.blobs[key] = bytes([held[0] ^ 1]) + held[1:]

    def answer(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        """Answer a request."""
        url = urlsplit(target)
        self.log.append((method, url.path, headers))
        if url.path == "/token":
            return self._token(method, headers, body)
        refusal = self._refusal(method, headers)
        if refusal:
            return refusal
        for name, route in _ROUTES:
            found = route.fullmatch(f"{method} {url.path}")
            if found:
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                with self._lock:
                    answer: Answer = getattr(self, f"_{name}")(found.groupdict(), query, headers, body)
                return answer
        return _error(404, "NAME_INVALID")

    def _token(self, method: str, headers: Headers, body: bytes) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        refresh = {"grant_type": "refresh_token", "refresh_token": self.login.partition(":")[2]}
        known = form.items() >= refresh.items() if method == "POST" else headers.get("Authorization") == self._basic()
        return Answer(200, json.dumps({"token": "secret-token"}).encode()) if known else _error(401, "UNAUTHORIZED")

    def _refusal(self, method: str, headers: Headers) -> Answer | None:
        if not self.login:
            return None
        action = "pull" if method in {"GET", "HEAD"} else "pull,push"
        challenge = f'Bearer realm="{self.realm or self.url + "/token"}",service="test",scope="repository:x:{action}"'
        wanted = self._basic() if self.basic else "Bearer secret-token"
        if headers.get("Authorization") == wanted:
            return None
        return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="test"' if self.basic else challenge})

    def _basic(self) -> str:
        return f"Basic {base64.b64encode(self.login.encode()).decode()}"

    def _head_blob(self, found: dict[str, str], *_: object) -> Answer:
        data = self.blobs.get((found["name"], found["sha256"]))
        return _error(404, "BLOB_UNKNOWN") if data is None else Answer(200, data)

    def _get_blob(self, found: dict[str, str], _: object, headers: Headers, __: object) -> Answer:
        if self.leads_to:
            return Answer(
                307, headers={"Location": f"{self.leads_to}/v2/{found['name']}/blobs/sha256:{found['sha256']}"}
            )
        data = self.blobs.get((found["name"], found["sha256"]))
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range", ""))
        if not (span and self.ranges):
            return Answer(200, data)
        start, end = int(span[1]), int(span[2] or len(data) - 1)
        if start >= len(data):
            return _error(416, "RANGE_INVALID")
        return Answer(206, data[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def _start_upload(self, found: dict[str, str], *_: object) -> Answer:
        number = str(len(self._uploads))
        self._uploads[number] = b""
        return Answer(202, headers={"Location": f"/v2/{found['name']}/blobs/uploads/{number}?state=x"})

    def _add_chunk(self, found: dict[str, str], query: Headers, headers: Headers, body: bytes) -> Answer:
        start = headers.get("Content-Range", "0-").partition("-")[0]
        if query.get("state") != "x" or int(start) != len(self._uploads[found["number"]]):
            return _error(416, "BLOB_UPLOAD_INVALID")
        self._uploads[found["number"]] += body
        return Answer(202, headers={"Location": f"/v2/{found['name']}/blobs/uploads/{found['number']}?state=x"})

    def _end_upload(self, found: dict[str, str], query: Headers, _: object, body: bytes) -> Answer:
        if query.get("state") != "x" or found["number"] not in self._uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        data = self._uploads.pop(found["number"]) + body
        self._uploads.setdefault(found["number"], b"")
        sha256 = hashlib.sha256(data).hexdigest()
        if query.get("digest") != f"sha256:{sha256}":
            return _error(400, "DIGEST_INVALID")
        self.blobs.setdefault((found["name"], sha256), data)
        return Answer(201, headers={"Location": f"/v2/{found['name']}/blobs/sha256:{sha256}"})

    def _get_manifest(self, found: dict[str, str], _: object, headers: Headers, __: object) -> Answer:
        held = self.manifests.get((found["name"], found["reference"]))
        if held is None:
            return _error(404, "MANIFEST_UNKNOWN")
        if held[0] not in headers.get("Accept", ""):
            return _error(404, "MANIFEST_UNKNOWN", {"X-Why": "not accepted"})
        return Answer(200, held[1], {"Content-Type": held[0]})

    def _put_manifest(self, found: dict[str, str], _: object, headers: Headers, body: bytes) -> Answer:
        document, name = json.loads(body), found["name"]
        if document.get("schemaVersion") != 2 or document.get("mediaType") != headers.get("Content-Type"):
            return _error(400, "MANIFEST_INVALID")
        if not _TAG.fullmatch(found["reference"]) and not found["reference"].startswith("sha256:"):
            return _error(400, "TAG_INVALID")
        for each in [document["config"], *document["layers"]]:
            if len(self.blobs.get((name, each["digest"].removeprefix("sha256:")), b"\0" * 99)) != each["size"]:
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
        if self.immutable and (name, found["reference"]) in self.manifests:
            return _error(409, "TAG_IMMUTABLE")
        self.manifests[name, found["reference"]] = (headers["Content-Type"], body)
        return Answer(201, headers={"Location": f"/v2/{name}/manifests/{found['reference']}"})

    def _list_tags(self, found: dict[str, str], query: Headers, *_: object) -> Answer:
        tags = sorted(tag for name, tag in self.manifests if name == found["name"])
        if not tags:
            return _error(404, "NAME_UNKNOWN")
        rest = [tag for tag in tags if tag > query.get("last", "")]
        page = rest[: int(query.get("n", _PAGE))]
        link = (
            {"Link": f'</v2/{found["name"]}/tags/list?n={_PAGE}&last={page[-1]}>; rel="next"'} if page != rest else {}
        )
        return Answer(200, json.dumps({"name": found["name"], "tags": page}).encode(), link)


def _error(status: int, code: str, headers: Headers | None = None) -> Answer:
    return Answer(status, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode(), headers or {})


@contextmanager
def serve(registry: OciRegistry) -> Iterator[OciRegistry]:
    """Serve a registry on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are two packets, and the second would wait for an answer

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = registry.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(answer.status)
            for name, value in {"Docker-Content-Digest": _digest(answer), **answer.headers}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if registry.cut and "/blobs/" in self.path and len(answer.body) > registry.cut:
                self.wfile.write(answer.body[: registry.cut])
                self.close_connection = True
                return
            self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815  the names http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _digest(answer: Answer) -> str:
    is_manifest = answer.headers.get("Content-Type", "").endswith("manifest.v1+json")
    return f"sha256:{hashlib.sha256(answer.body).hexdigest()}" if is_manifest else ""
