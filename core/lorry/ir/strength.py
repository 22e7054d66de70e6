"""Strength: the user's number at use."""

from __future__ import annotations

from lorry.errors import InvalidArgument

LARGEST_STRENGTH = 1e3
"""Far beyond what draws anything; larger ones overflow what they are multiplied with."""


def checked_strength(number: float, where: str = "") -> float:
    """Return a strength; raise InvalidArgument for NaN and for one beyond ±1,000, naming `where` it stands."""
    if not abs(number) <= LARGEST_STRENGTH:
        said = f"{where}: " if where else ""
        raise InvalidArgument(f"{said}{number:g} is no strength; give a number such as 0.8 (at most ±1,000)")
    return number
