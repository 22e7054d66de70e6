"""A store: where adapters and bases are found by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.ir.frame import Published


def _knows_nothing(_: str) -> None:
    return None


def _has_no_bases() -> Mapping[str, Path]:
    return {}


class Store(NamedTuple):
    """Answers references with files on this machine; nothing is fetched unasked.

    `adapter(reference)` returns the files of an adapter, or None for a reference that is not this store's
    to answer; it raises NotFound for one that is but names nothing. `version(reference)` tells, under the same rules,
    which version that means now, so that what is made of it can say so. `bases()` lists base folders by name.
    `file(sha256)` returns a file of these bytes, to be read only, under a name that tells its format; None for unknown.
    `api` is "module:attribute" of the store's Python interface, called with the place to open or None.
    `schemes` are the beginnings of addresses that are this store's ("s3" for s3://…). It holds remotes there where
    `remote` is the "module:attribute" that is called with an address and an adapter's "namespace/name" and returns
    the `Remote`; what else is said of it (`lorry push -O`) comes as text to the keyword-only parameters it has. Where a
    place `holds_one` adapter alone, addresses may leave its name out, and "" is what the attribute is called with. It
    brings what other people put there, and what is no version of lorry's, where `fetch` is the
    "module:attribute" that is called with an address, a folder of its own and the `Limits`, puts files into that
    folder and returns the `Fetched`; it raises NotFound, AccessDenied and UpstreamFailed, and nothing in it is
    believed. `pages` are the beginnings of web addresses that show what this store holds, as people copy them from a
    browser; `fetch` takes those too. `look_up` is the "module:attribute" that is called with a file's `Hashes` and the
    `Limits` and returns the `Facts` this store knows of it, None where it knows none; it is asked only where a person
    wants that.
    """

    name: str
    title: str
    adapter: Callable[[str], tuple[Path, ...] | None] = _knows_nothing
    bases: Callable[[], Mapping[str, Path]] = _has_no_bases
    api: str = ""
    schemes: tuple[str, ...] = ()
    remote: str = ""
    holds_one: bool = False
    fetch: str = ""
    pages: tuple[str, ...] = ()
    look_up: str = ""
    file: Callable[[str], Path | None] = _knows_nothing
    version: Callable[[str], Published | None] = _knows_nothing

    def answer(self, reference: str) -> tuple[tuple[Path, ...] | None, Published | None]:
        """Return the files of an adapter, None where this store does not answer, and which version they are."""
        version = self.version(reference)
        return self.adapter(version.reference if version else reference), version
