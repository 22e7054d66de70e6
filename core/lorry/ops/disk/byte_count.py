"""Sizes as people write them."""

from __future__ import annotations

import re

from lorry.errors import InvalidArgument

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip


def byte_count(size: int | str) -> int:
    """Return a size in bytes, given so or as text with a unit: "50MB" (10^6), "50MiB" (2^20).

    Raises InvalidArgument for what is no size, or none of at least a byte.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or float(found[1]) * unit < 1:
        raise InvalidArgument(f"{size!r} is no size; give bytes or a unit, as in 50MB")
    return int(float(found[1]) * unit)
