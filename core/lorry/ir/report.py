"""What reading could and could not make of a source."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """Every key of the source, either used or unmapped with the reason; and what the file cannot tell.

    `ambiguous` pairs what is open (scale, base, component …) with why, and how it was settled.
    `companions` are the files beside that belong to the adapter by their names, and were not opened with it.
    """

    used: tuple[str, ...] = ()
    unmapped: tuple[tuple[str, str], ...] = ()
    ambiguous: tuple[tuple[str, str], ...] = ()
    companions: tuple[str, ...] = ()
