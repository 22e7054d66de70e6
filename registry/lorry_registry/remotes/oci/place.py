"""Places in OCI registries: `oci://host[:port]/prefix`."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from lorry.errors import InvalidArgument, MissingExtra
from lorry_registry.remotes.oci.credentials import DOCKER_HUB
from lorry_registry.remotes.oci.remote import OciRemote

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_LONGEST_NAME = 255
_HOSTS = {"docker.io": DOCKER_HUB, "index.docker.io": DOCKER_HUB}


def open_oci(place: str, adapter: str, *, insecure: str = "") -> OciRemote:
    """Open oci://host[:port]/prefix, as whom `docker login` made known there.

    Without encryption on this machine, at the hosts in LORRY_INSECURE_REGISTRIES, and where `insecure` is "true".
    Raises InvalidArgument for what is no place in a registry, and for an adapter whose name is none in OCI.
    """
    try:
        from lorry_registry.remotes.oci.http import HttpRepository
        from lorry_registry.remotes.oci.session import Session, loopback
    except ModuleNotFoundError as error:
        raise MissingExtra("a registry that speaks OCI", "httpx2", "oci") from error
    parts = urlsplit(place)
    host = _HOSTS.get(parts.netloc, parts.netloc)
    if not parts.hostname or parts.query or parts.username is not None:
        raise InvalidArgument(f"{place} is no place in an OCI registry; write oci://host/prefix, without a password")
    if insecure not in {"", "true", "false"}:
        raise InvalidArgument(f"insecure={insecure} is neither true nor false")
    name = "/".join(part for part in (parts.path.strip("/"), adapter) if part)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise InvalidArgument(
            f"{name} is no name of an OCI repository: small letters and digits with one . or _ between them, or any "
            f"number of -, and no more than {_LONGEST_NAME} of all; what comes after # names adapter and version"
        )
    said = parts.netloc in os.environ.get("LORRY_INSECURE_REGISTRIES", "").split(",") or loopback(parts.hostname)
    plain = said if not insecure else insecure == "true"
    return OciRemote(HttpRepository(Session(f"{'http' if plain else 'https'}://{host}"), name))
