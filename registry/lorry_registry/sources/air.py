"""Artificial Intelligence Resource names, as Civitai writes them: `urn:air:sdxl:lora:civitai:328553@368189`.

Specification: https://developer.civitai.com/site/guide/air.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lorry.errors import InvalidArgument

_AIR = re.compile(
    r"(?:urn:)?air:(?P<ecosystem>[a-z0-9_-]+):(?P<type>[a-z0-9_-]+):(?P<source>[a-z0-9_-]+):"
    r"(?P<model>[^@+]+)(?:@(?P<version>[^+.]+))?(?:\+(?P<file>[0-9]+))?(?:\.(?P<format>[a-z0-9]+))?",
    re.IGNORECASE,
)


class Air(NamedTuple):
    """One resource: for which family of bases, of which type, in whose hands, and which there."""

    ecosystem: str
    type: str
    source: str
    model: str
    version: str = ""
    file: str = ""
    format: str = ""

    @staticmethod
    def parse(text: str) -> Air:
        """Read one; raise InvalidArgument."""
        found = _AIR.fullmatch(text.strip())
        if not found:
            raise InvalidArgument(f"{text[:80]!r} is no AIR; write urn:air:sdxl:lora:civitai:MODEL@VERSION, say")
        told = {name: value or "" for name, value in found.groupdict().items()}
        return Air(**told | {name: told[name].lower() for name in ("ecosystem", "type", "source", "format")})

    def __str__(self) -> str:
        version, file = f"@{self.version}" if self.version else "", f"+{self.file}" if self.file else ""
        ending = f".{self.format}" if self.format else ""
        return f"urn:air:{self.ecosystem}:{self.type}:{self.source}:{self.model}{version}{file}{ending}"
