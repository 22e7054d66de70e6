"""How a server behaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lorry_registry.hub.tokens import Tokens

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Names of this machine."""

LARGEST_FILE = 64 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server behaves.

    anonymous: whether reading public repositories needs no token. hosts: names it answers to, all where empty;
    a page in a browser could otherwise reach a server on the same machine by a name of its own (DNS rebinding).
    largest_file: bytes. xet: whether clients may upload by xet, which only those on this machine can.
    """

    home: Path | None = None
    tokens: Tokens = field(default_factory=Tokens)
    anonymous: bool = False
    read_only: bool = False
    hosts: tuple[str, ...] = ()
    largest_file: int = LARGEST_FILE
    xet: bool = False
