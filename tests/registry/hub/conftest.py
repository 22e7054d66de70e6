"""A served registry: one server for all tests, whose home is emptied before each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import ALICE, HubServer, hub_server

from .calls import Client


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with hub_server(tmp_path_factory.mktemp("served") / "home") as running:
        yield running


@pytest.fixture(autouse=True)
def home(served: HubServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test the served home as LORRY_HOME, empty."""
    for name in [name for name in os.environ if name.startswith("LORRY_")]:
        monkeypatch.delenv(name)
    shutil.rmtree(served.home, ignore_errors=True)
    monkeypatch.setenv("LORRY_HOME", str(served.home))
    return served.home


@pytest.fixture
def hub(served: HubServer) -> HubServer:
    return served


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
