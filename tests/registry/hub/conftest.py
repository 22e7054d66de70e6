"""A served registry, and plain calls to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.hub_server import HubServer, hub_server


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

    def __init__(self, hub: HubServer) -> None:
        self.hub = hub

    def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.hub.url.rpartition(":")[2]), timeout=20)
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        with closing(connection):
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


@pytest.fixture
def hub(home: Path) -> Iterator[HubServer]:
    with hub_server(home) as served:
        yield served


@pytest.fixture
def call(hub: HubServer) -> Client:
    return Client(hub)
