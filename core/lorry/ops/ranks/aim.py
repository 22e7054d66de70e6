"""What a person asks of ranks: a number, a share of energy to keep, an error to stay below, a ratio, or a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lorry.algebra.ranks import Rank, kept_energy, relative_error, value_ratio
from lorry.errors import InvalidArgument
from lorry.ops.disk.byte_count import byte_count

DEFAULT_RANK = 32


class Aim(NamedTuple):
    """What decides the ranks, as given; a rank of every layer or what chooses it, or the bytes that all share."""

    given: Mapping[str, float | str]
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
    if size is not None:
        return Aim(chosen, size=byte_count(size))
    if energy is not None:
        return Aim(chosen, kept_energy(energy))
    if error is not None:
        return Aim(chosen, relative_error(error))
    if ratio is not None:
        return Aim(chosen, value_ratio(ratio))
    number = DEFAULT_RANK if rank is None else rank
    if number < 1:
        raise InvalidArgument(f"{rank} is no rank; give 1 or more")
    return Aim(chosen, number)
