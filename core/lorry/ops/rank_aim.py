"""What a person asks of ranks: a number, a share of energy to keep, an error to stay below, a ratio, or a size."""

from __future__ import annotations

import re
from typing import NamedTuple

from lorry.algebra.ranks import Rank, kept_energy, relative_error, value_ratio
from lorry.errors import InvalidArgument

DEFAULT_RANK = 32

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip


class Aim(NamedTuple):
    """What decides the ranks, in words; a rank of every layer or what chooses it, or the bytes that all share."""

    told: str
    rank: Rank = 0
    size: int = 0


def rank_aim(
    *,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
    ratio: float | None = None,
    size: int | str | None = None,
) -> Aim:
    """Return the one aim that is given, or rank 32; raise InvalidArgument for several, or one that makes no sense.

    `size` is in bytes, or text with a unit: "50MB" (10^6), "50MiB" (2^20).
    """
    given = {"rank": rank, "energy": energy, "error": error, "ratio": ratio, "size": size}
    chosen = {name: value for name, value in given.items() if value is not None} or {"rank": DEFAULT_RANK}
    if len(chosen) > 1:
        raise InvalidArgument(f"{' and '.join(chosen)} cannot both decide the ranks; give one of them")
    ((name, value),) = chosen.items()
    told = f"{name} {value}"
    if size is not None:
        return Aim(told, size=_bytes(size))
    if energy is not None:
        return Aim(told, kept_energy(energy))
    if error is not None:
        return Aim(told, relative_error(error))
    if ratio is not None:
        return Aim(told, value_ratio(ratio))
    number = DEFAULT_RANK if rank is None else rank
    if number < 1:
        raise InvalidArgument(f"{rank} is no rank; give 1 or more")
    return Aim(told, number)


def _bytes(size: int | str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not float(found[1]):
        raise InvalidArgument(f"{size!r} is no size; give bytes or a unit, as in 50MB")
    return int(float(found[1]) * unit)
