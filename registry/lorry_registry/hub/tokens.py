"""Tokens: who somebody is, and what they may do. A token is kept as its sha256 alone.

A token file has one token a line, as `lorry serve-hub --add-token` writes it:

    alice write alice,team 5f2b…        name, role (read or write), namespaces it may write to (* for all), sha256
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lorry.errors import InvalidArgument, InvalidFile, NotFound
from lorry_registry.disk import durable
from lorry_registry.references.names import check_name

ROLES = ("read", "write")
EVERY = "*"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed a token; `namespaces` are those whose private repositories they see, and may write to."""

    name: str
    role: str
    namespaces: tuple[str, ...]

    def belongs_to(self, namespace: str) -> bool:
        """Tell whether a namespace is theirs."""
        return EVERY in self.namespaces or namespace in self.namespaces

    def may_write(self, namespace: str) -> bool:
        """Tell whether they may change a namespace."""
        return self.role == "write" and self.belongs_to(namespace)


@dataclass(frozen=True, slots=True)
class Grant:
    """A caller, and the sha256 of the token that tells them."""

    caller: Caller
    sha256: str

    def line(self) -> str:
        """Write it as a line of a token file."""
        return f"{self.caller.name} {self.caller.role} {','.join(self.caller.namespaces)} {self.sha256}"


def grant(name: str, role: str = "write", namespaces: Iterable[str] = (), token: str = "") -> tuple[Grant, str]:
    """Make a token, or take the given one; return what to keep of it, and the token itself, which is not kept.

    Raises InvalidArgument for a name, role or namespace that is none.
    """
    if role not in ROLES:
        raise InvalidArgument(f"{role!r} is no role of a token; use {' or '.join(ROLES)}")
    name = check_name(name, "name")
    own = tuple(each if each == EVERY else check_name(each, "namespace") for each in namespaces) or (name,)
    token = token or f"lorry_{secrets.token_urlsafe(32)}"
    return Grant(Caller(name, role, own), _hash(token)), token


class Tokens:
    """The tokens there are: given ones, or those of a file, which is read again whenever it changes."""

    def __init__(self, grants: Iterable[Grant] = (), file: Path | None = None) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._grants = tuple(grants)
        self._refresh()

    def find(self, token: str) -> Caller | None:
        """Return whose token this is; every one is compared, each in constant time."""
        self._refresh()
        found = None
        for each in self._grants:
            if hmac.compare_digest(each.sha256, _hash(token)):
                found = each.caller
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        state = self._file.stat() if self._file.is_file() else None
        seen = (state.st_mtime_ns, state.st_size) if state else None
        if seen is None or seen != self._seen:
            self._grants = tuple(read_grants(self._file))
            self._seen = seen


def read_grants(path: Path) -> list[Grant]:
    """Read a token file; raise NotFound, and InvalidFile naming the line that is none."""
    if not path.is_file():
        raise NotFound(f"there is no token file {path}; lorry serve-hub --token-file {path} --add-token NAME makes it")
    lines = enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
    return [_grant(path, number, line) for number, line in lines if line.strip() and not line.startswith("#")]


def add_grant(path: Path, made: Grant) -> None:
    """Add a line to a token file, which only its owner may read; the file is made where there is none."""
    durable.append(path, made.line().encode())
    path.chmod(0o600)


def _grant(path: Path, number: int, line: str) -> Grant:
    fields = line.split()
    if len(fields) != _FIELDS or fields[1] not in ROLES or not _SHA256.fullmatch(fields[3]):
        raise InvalidFile(f"{path}, line {number}: not a name, a role, namespaces and a sha256; see lorry serve-hub")
    return Grant(Caller(fields[0], fields[1], tuple(fields[2].split(","))), fields[3])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
