"""A Hub on this machine: `lorry serve-hub` in a thread, and a network in front of it that can be told to misbehave.

with hub_server(tmp_path / "home") as hub:
    HfApi(endpoint=hub.url, token=hub.alice) …
    hub.faults.cut_after, hub.faults.cut_times = 1000, 2
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorry_registry.hub.app import create_app
from lorry_registry.hub.server import Server, address_of, listen
from lorry_registry.hub.settings import Settings
from lorry_registry.hub.tokens import Tokens, grant

from .hub_faults import Faults, FaultyNetwork, Seen

ALICE, BOB, READER = "hf_alice", "hf_bob", "hf_reader"


@dataclass
class HubServer:
    """A running server: its address, tokens of three people, what it was asked, and what goes wrong on the way."""

    url: str
    home: Path
    faults: Faults
    seen: list[Seen] = field(default_factory=list)
    alice: str = ALICE
    """May write to alice, demo and team."""
    bob: str = BOB
    """May write to bob."""
    reader: str = READER
    """May read alice, and write nothing."""

    def environment(self, folder: Path, token: str = ALICE) -> dict[str, str]:
        """Return what a client in another process needs to be told: it reads these when it is imported."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder),
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
        }


@contextmanager
def hub_server(home: Path, **settings: Any) -> Iterator[HubServer]:
    """Serve a home; `settings` are those of `lorry_registry.hub.settings.Settings`."""
    tokens = Tokens(
        [
            grant("alice", namespaces=("alice", "demo", "team"), token=ALICE)[0],
            grant("bob", token=BOB)[0],
            grant("reader", role="read", namespaces=("alice",), token=READER)[0],
        ]
    )
    app = create_app(Settings(**{"home": home, "tokens": tokens, "anonymous": True, **settings}))
    faults, seen = Faults(), list[Seen]()
    listener = listen("127.0.0.1", 0)
    server = Server(FaultyNetwork(app, faults, seen))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield HubServer(address_of(listener), home, faults, seen)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
