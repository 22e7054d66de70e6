"""What a store brings from an address: files, and what is said of them there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

PART = ".part"
"""The ending of what a fetch has not finished: the next one of that address finds it in its folder, and goes on."""

_NOTHING: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class Limits(NamedTuple):
    """What one fetch may take, and where it may go: all that a store fetches for one address together.

    nbytes: bytes of all files. seconds: of the clock, from the first request to the last byte. hosts: names of hosts
    that may be private, and spoken to without TLS; every other one is public and spoken to with TLS.
    """

    nbytes: int = 8 << 30
    seconds: float = 3600.0
    hosts: tuple[str, ...] = ()


class Facts(NamedTuple):
    """What is said of an adapter where it was found: claims, in plain text, none of which outweighs the bytes.

    source: the address to record, without a password or a token in it: a URL, an AIR. base: the base model's name as
    it stands there. hashes: by file name what is told of each file, by the names of
    `lorry.ops.disk.hashes.Hashes.named` ("SHA256", "AutoV2", "BLAKE3" …); whoever asked for the fetch holds them
    against the bytes.
    """

    source: str
    title: str = ""
    description: str = ""
    license: str = ""
    authors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    base: str = ""
    hashes: Mapping[str, Mapping[str, str]] = _NOTHING


class Fetched(NamedTuple):
    """The files that a store has put in the folder it was given, and what is said of them.

    `files` are the adapter's own, and what goes with them (a card, previews): plain files, directly in that folder,
    under names that the store has made safe (no separators, no control characters).
    """

    files: tuple[Path, ...]
    facts: Facts
