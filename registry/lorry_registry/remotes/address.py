"""Addresses of versions elsewhere: `s3://bucket/prefix#namespace/name@selector`, or a place that holds one adapter."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lorry.errors import InvalidArgument, UnknownName
from lorry.plugin.host import Host, host
from lorry.plugin.remote import Remote
from lorry_registry.references.reference import Reference

_NONE: Mapping[str, str] = MappingProxyType({})
_SHOWN = 5


class Address(NamedTuple):
    """A place, and what is meant there: None where the place itself says it."""

    place: str
    reference: Reference | None

    @staticmethod
    def parse(text: str) -> Address:
        """Read `PLACE[#NS/NAME[@VERSION]]`; raise InvalidArgument."""
        place, mark, reference = text.partition("#")
        if "://" not in place:
            raise InvalidArgument(
                f"{text!r} is no address of a version; write PLACE#namespace/name@1.0.0, where PLACE is "
                "file:///a/folder or s3://bucket/folder"
            )
        return Address(place, Reference.parse(reference) if mark else None)


def open_remote(
    place: str, reference: Reference | None, options: Mapping[str, str] = _NONE, plugins: Host | None = None
) -> Remote:
    """Open the remote of an adapter at a place, or the one adapter that the place holds.

    Raises UnknownName for a kind of place no store holds remotes at, InvalidArgument for options it does not take and
    where the place holds many adapters and none is named.
    """
    scheme, mark, _ = place.partition("://")
    stores = (plugins or host()).stores().values()
    known = {scheme: store for store in stores if store.remote for scheme in store.schemes}
    if not mark:
        raise InvalidArgument(
            f"{place!r} is no address; write one such as {' or '.join(f'{each}://…' for each in known)}"
        )
    if scheme not in known:
        raise UnknownName("kind of place", scheme, known, "a plugin may add one")
    if reference is None and not known[scheme].holds_one:
        raise InvalidArgument(f"{place} holds many adapters{_named(scheme, place)}")
    module, _, attribute = known[scheme].remote.partition(":")
    opener: Callable[..., Remote] = getattr(importlib.import_module(module), attribute)
    _check_options(scheme, opener, options)
    return opener(place, reference.adapter if reference else "", **options)


def _named(scheme: str, place: str) -> str:
    """Say how one of many adapters is named, by those that are there where a look at the place is cheap."""
    from lorry_registry.remotes.folder import adapters_in

    names = adapters_in(place) if scheme == "file" else []
    there = f": {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}" if names else ""
    return f"{there}; write {place}#{names[0] if names else 'namespace/name@1.0.0'}, say"


def _check_options(scheme: str, opener: Callable[..., Remote], options: Mapping[str, str]) -> None:
    parameters = inspect.signature(opener).parameters.values()
    taken = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in taken:
            raise InvalidArgument(f"{scheme}:// has no option {name!r}; it has {', '.join(taken) or 'none'}")
