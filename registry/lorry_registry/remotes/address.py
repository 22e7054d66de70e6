"""Addresses of remotes: `s3://bucket/prefix#namespace/name@selector`."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from lorry.errors import InvalidArgument, UnknownName
from lorry.plugin.host import Host, host
from lorry.plugin.remote import Remote
from lorry_registry.reference import Reference


class Address(NamedTuple):
    """A place, and what is meant there."""

    place: str
    reference: Reference

    @staticmethod
    def parse(text: str) -> Address:
        """Read `PLACE#NS/NAME[@VERSION]`; raise InvalidArgument."""
        place, mark, reference = text.partition("#")
        if not mark or "://" not in place:
            raise InvalidArgument(
                f"{text!r} is no address of a version; write PLACE#namespace/name@1.0.0, where PLACE is "
                "file:///a/folder or s3://bucket/folder"
            )
        return Address(place, Reference.parse(reference))


def open_remote(place: str, reference: Reference, plugins: Host | None = None) -> Remote:
    """Open the remote of an adapter at a place; raise UnknownName for a kind of place no store knows."""
    scheme, mark, _ = place.partition("://")
    known = {scheme: store for store in (plugins or host()).stores().values() for scheme in store.schemes}
    if not mark:
        raise InvalidArgument(
            f"{place!r} is no address; write one such as {' or '.join(f'{each}://…' for each in known)}"
        )
    if scheme not in known:
        raise UnknownName("kind of place", scheme, known, "a plugin may add one")
    module, _, attribute = known[scheme].remote.partition(":")
    remote: Remote = getattr(importlib.import_module(module), attribute)(place, reference.adapter)
    return remote
