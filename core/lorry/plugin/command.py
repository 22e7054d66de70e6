"""A command of the `lorry` command line."""

from __future__ import annotations

from typing import NamedTuple

NO_TOPIC = "Added by plugins"


class Command(NamedTuple):
    """A click command, imported from "module:attribute" when it is run and not before.

    `topic` is the heading that `lorry --help` lists it under, with the others of that topic.
    """

    name: str
    help: str
    load: str
    topic: str = NO_TOPIC
