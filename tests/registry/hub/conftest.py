"""A served registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import ALICE, HubServer, hub_server

from .calls import Client


@pytest.fixture
def hub(home: Path) -> Iterator[HubServer]:
    with hub_server(home) as served:
        yield served


@pytest.fixture
def call(hub: HubServer) -> Client:
    return Client(hub.url)


@pytest.fixture
def made(call: Client) -> Client:
    """A server with the empty repository alice/cat."""
    assert call("POST", "/api/repos/create", {"name": "cat"}, token=ALICE).status == 200
    return call


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with the empty repository alice/cat, for calls that change nothing."""
    with hub_server(tmp_path_factory.mktemp("standing")) as served:
        call = Client(served.url)
        assert call("POST", "/api/repos/create", {"name": "cat"}, token=ALICE).status == 200
        yield call
