"""Who we are to a registry, as `docker login` wrote it down.

The files are docker's own: https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import AccessDenied

DOCKER_HUB = "registry-1.docker.io"
_KEPT_AS = {DOCKER_HUB: ("https://index.docker.io/v1/", "index.docker.io", "docker.io")}
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
_IDENTITY = "<token>"  # the name under which helpers keep a token in place of a password


class Credentials(NamedTuple):
    """A user and a password, or a token that stands for both."""

    user: str
    secret: str
    identity: bool = False

    @property
    def basic(self) -> str:
        """The header of basic authentication (RFC 7617)."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode()}"


def credentials(host: str) -> Credentials | None:
    """Return what DOCKER_AUTH_CONFIG or docker's config.json has for this very host, None where it has nothing.

    Raises AccessDenied where they cannot be read.
    """
    for text, source in _configurations():
        try:
            found = _find(json.loads(text), host)
        except (ValueError, TypeError, AttributeError, binascii.Error) as error:
            raise AccessDenied(f"{source} is not as docker writes it; log in to {host} again") from error
        if found:
            return found
    return None


def _configurations() -> list[tuple[str, str]]:
    found = [(os.environ.get("DOCKER_AUTH_CONFIG", ""), "DOCKER_AUTH_CONFIG")]
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    if path.is_file():
        found.append((path.read_text(encoding="utf-8"), str(path)))
    return [(text, source) for text, source in found if text]


def _find(config: dict[str, Any], host: str) -> Credentials | None:
    for name in (host, f"https://{host}", *_KEPT_AS.get(host, ())):
        helper = config.get("credHelpers", {}).get(name) or config.get("credsStore")
        found = _ask(helper, name) if helper else None
        found = found or _kept(config.get("auths", {}).get(name, {}))
        if found:
            return found
    return None


def _kept(entry: dict[str, str]) -> Credentials | None:
    user, _, secret = base64.b64decode(entry.get("auth", ""), validate=True).decode().partition(":")
    if entry.get("identitytoken"):
        return Credentials(user, entry["identitytoken"], identity=True)
    return Credentials(user, secret) if user else None


def _ask(helper: str, name: str) -> Credentials | None:
    """Ask a program that docker's configuration names; None where it knows nothing of that host."""
    if not _HELPER.fullmatch(helper):
        raise AccessDenied(f"docker's configuration names a credential helper {helper!r}, which is no program's name")
    try:
        done = subprocess.run(  # noqa: S603  the program that the user's own configuration names
            [f"docker-credential-{helper}", "get"], input=name, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AccessDenied(f"docker-credential-{helper}, which docker's configuration names, does not run") from error
    if done.returncode:
        return None
    told = json.loads(done.stdout)
    return Credentials(told["Username"], told["Secret"], identity=told["Username"] == _IDENTITY)
