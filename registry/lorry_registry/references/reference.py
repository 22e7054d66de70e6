"""References: `namespace/name@selector`, the way people and recipes name an adapter in a registry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from lorry.errors import InvalidArgument
from lorry_registry.references.names import check_name
from lorry_registry.references.semver import Range, Version

LATEST = "latest"
"""The alias that publishing moves to the highest stable version."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{12,64}")


class Alias(NamedTuple):
    """A movable name for a version."""

    name: str

    def __str__(self) -> str:
        return self.name


class Digest(NamedTuple):
    """The first 12 or more hexadecimal digits of a manifest's sha256."""

    prefix: str

    def __str__(self) -> str:
        return f"sha256:{self.prefix}"


Selector = Version | Range | Alias | Digest


@dataclass(frozen=True, slots=True)
class Reference:
    """A namespace and name, and which of its versions is meant; without a selector, the latest."""

    namespace: str
    name: str
    selector: Selector | None = None

    @staticmethod
    def parse(text: str) -> Reference:
        """Read `namespace/name[@selector]`; raise InvalidArgument saying what is wrong.

        The selector is an exact version (1.2.0), a range (1, 1.2, ^1.2, ~1.2.3), an alias (latest) or a
        digest (sha256: and 12 or more digits). Letters are folded to lower case.
        """
        path, at, selector = text.partition("@")
        namespace, slash, name = path.partition("/")
        if not slash or "/" in name:
            raise InvalidArgument(f"{text!r} is not a reference; write namespace/name or namespace/name@version")
        return Reference(
            check_name(namespace, "namespace"),
            check_name(name, "name"),
            parse_selector(selector) if at else None,
        )

    @property
    def adapter(self) -> str:
        """The namespace and name, without the selector."""
        return f"{self.namespace}/{self.name}"

    def at(self, selector: Selector | None) -> Reference:
        """Return the same adapter with another selector."""
        return Reference(self.namespace, self.name, selector)

    def exact(self) -> Version:
        """Return the version; raise InvalidArgument where the reference does not name exactly one."""
        if not isinstance(self.selector, Version):
            raise InvalidArgument(f"{str(self)!r} does not name a version; write {self.adapter}@1.0.0, say")
        return self.selector

    def __str__(self) -> str:
        return self.adapter if self.selector is None else f"{self.adapter}@{self.selector}"


def parse_selector(text: str) -> Selector:
    """Read what stands behind the "@"; its first character tells which of the four it is."""
    folded = text.lower() if text.isascii() else text
    if folded.startswith("sha256:"):
        if not _DIGEST.fullmatch(folded):
            raise InvalidArgument(f"{text!r} is not a digest; write sha256: and 12 to 64 hexadecimal digits")
        return Digest(folded.removeprefix("sha256:"))
    if folded[:1] in {"^", "~"}:
        return Range.parse(folded)
    if folded[:1].isdecimal():
        return Version.parse(folded) if folded.count(".") > 1 else Range.parse(folded)
    return parse_alias(folded)


def movable(alias: Alias) -> Alias:
    """Return an alias that people move; raise InvalidArgument for "latest", which moves by itself."""
    if alias.name == LATEST:
        raise InvalidArgument(
            f"{LATEST} is the highest stable version that is not yanked, always, and moves by itself; "
            "give the alias another name, stable say"
        )
    return alias


def parse_alias(text: str) -> Alias:
    """Read an alias; one that looks like a version is refused, since it would be taken for one."""
    name = check_name(text, "alias")
    if re.match(r"v?[0-9]+\.|[0-9]", name):
        Version.parse(name)
        raise InvalidArgument(f"{text!r} is a version, not an alias; an alias starts with a letter")
    return Alias(name)
