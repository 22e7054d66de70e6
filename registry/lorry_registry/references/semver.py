"""Versions and ranges of them, after Semantic Versioning 2.0.0 (semver.org)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache, total_ordering

from lorry.errors import InvalidArgument

_NUMBER = r"0|[1-9][0-9]{0,8}"
_IDENTIFIER = r"0|[1-9][0-9]*|[0-9]*[a-z-][0-9a-z-]*"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-((?:{_IDENTIFIER})(?:\.(?:{_IDENTIFIER}))*))?")
_RANGE = re.compile(rf"([~^]?)({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?")
_LONGEST = 64


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """An exact version, ordered by precedence (section 11 of the specification).

    Build metadata ("+…") is refused: versions that differ only there have no order, and one of them would
    have to be the newest. Letters are lower case, as in every name here.
    """

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()

    @staticmethod
    @lru_cache(4096)  # a listing of thousands parses the same few texts again and again
    def parse(text: str) -> Version:
        """Read "1.2.0" or "1.2.0-rc.1"; raise InvalidArgument for anything else."""
        found = _VERSION.fullmatch(text.lower()) if text.isascii() and len(text) <= _LONGEST else None
        if not found:
            raise InvalidArgument(f"{text!r} is not a version such as 1.2.0 or 1.2.0-rc.1{_advice(text)}")
        major, minor, patch, prerelease = found.groups()
        return Version(int(major), int(minor), int(patch), tuple(prerelease.split(".")) if prerelease else ())

    @property
    def stable(self) -> bool:
        """Whether it is no pre-release."""
        return not self.prerelease

    def next_patch(self) -> Version:
        """Return the next free number for a small change."""
        return Version(self.major, self.minor, self.patch + (1 if self.stable else 0))

    def __str__(self) -> str:
        number = f"{self.major}.{self.minor}.{self.patch}"
        return f"{number}-{'.'.join(self.prerelease)}" if self.prerelease else number

    def __lt__(self, other: Version) -> bool:
        return self.precedence < other.precedence

    @property
    def sort_key(self) -> str:
        """A text that is ordered as versions are, for what sorts texts alone."""
        # A number is longer the larger it is, a blank comes before all that identifiers have, and "~" after it.
        parts = (f"0{len(part):02}{part} " if part.isdecimal() else f"1{part} " for part in self.prerelease)
        return f"{self.major:09}.{self.minor:09}.{self.patch:09}{''.join(parts) or '~'}"

    @property
    def precedence(self) -> tuple[object, ...]:
        """What versions are compared by: for sorting many without comparing each pair anew."""
        identifiers = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.prerelease)
        return (self.major, self.minor, self.patch, self.stable, identifiers)


@dataclass(frozen=True, slots=True)
class Range:
    """Stable versions from `low` up to, but not including, `high`.

    "1.2" is any 1.2.x, "^1.2" any from 1.2.0 with the same major number (below 1.0.0 the same minor, below
    0.1.0 the same patch), "~1.2.3" any 1.2.x from 1.2.3: npm's meaning of these signs.
    """

    text: str
    low: Version
    high: Version

    @staticmethod
    def parse(text: str) -> Range:
        """Read "1", "1.2", "^1.2" or "~1.2.3"; raise InvalidArgument for anything else."""
        found = _RANGE.fullmatch(text)
        if not found:
            raise InvalidArgument(f"{text!r} is not a range of versions such as 1, 1.2, ^1.2 or ~1.2.3")
        sign, *numbers = found.groups()
        given = [int(number) for number in numbers if number is not None]
        major, minor, patch = (*given, 0, 0)[:3]
        if len(given) == 1 or (sign == "^" and major):
            high = Version(major + 1, 0, 0)
        elif sign != "^" or minor or len(given) == 2:  # noqa: PLR2004  ^0.0 is 0.0.x
            high = Version(major, minor + 1, 0)
        else:
            high = Version(major, minor, patch + 1)
        return Range(text, Version(major, minor, patch), high)

    def __contains__(self, version: Version) -> bool:
        return version.stable and self.low <= version < self.high

    def __str__(self) -> str:
        return self.text


def _advice(text: str) -> str:
    if "+" in text:
        return "; build metadata (+...) does not order versions, leave it out"
    if text[:1] in {"v", "V"}:
        return f"; did you mean {text[1:]}?"
    return ""
