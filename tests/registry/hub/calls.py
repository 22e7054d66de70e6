"""Plain calls to a served registry, as they are: no library between that would mend them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from contextlib import closing
from typing import Any, NamedTuple

from tests.support.hub_server import ALICE

REPOSITORY = "/api/models/alice/cat"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)


class Client:
    """Makes calls as they are, without a library that would mend them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.url.rpartition(":")[2]), timeout=20)
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        with closing(connection):
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


def line(key: str, **value: Any) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def file(path: str, data: bytes = b"x") -> bytes:
    return line("file", path=path, content=base64.b64encode(data).decode(), encoding="base64")


def commit(call: Client, *lines: bytes, parent: str = "", branch: str = "main", token: str = ALICE) -> Answer:
    head = line("header", summary="a commit", **({"parentCommit": parent} if parent else {}))
    return call("POST", f"{REPOSITORY}/commit/{branch}", head + b"".join(lines), token=token)


def upload(call: Client, data: bytes, sent: bytes | None = None) -> Answer:
    """Send a large file as clients do, or other bytes in its place."""
    oid = hashlib.sha256(data).hexdigest()
    told = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(data)}]}
    batch = call("POST", "/alice/cat.git/info/lfs/objects/batch", told, token=ALICE)
    actions = batch.json["objects"][0].get("actions")
    if actions is None:
        return batch
    return call("PUT", actions["upload"]["href"].removeprefix(call.url), data if sent is None else sent)


def head(call: Client) -> str:
    return str(call("GET", REPOSITORY).json["sha"])
