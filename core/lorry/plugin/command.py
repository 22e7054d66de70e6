"""A command of the `lorry` command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A click command, imported from "module:attribute" when it is run and not before."""

    name: str
    help: str
    load: str
