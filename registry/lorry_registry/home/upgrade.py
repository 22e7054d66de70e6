"""Upgrading a home that an older lorry laid out, in place, when it is opened.

Every step is done whole or not at all, and doing it again changes nothing; the mark is replaced last. So a crash leaves
a home that the next who opens it upgrades to the end. An older lorry refuses it from then on, rather than misunderstand
it; one that runs meanwhile may lose a line of a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress

from lorry.errors import LorryError
from lorry_registry.disk import durable
from lorry_registry.home.layout import OLDER, Layout
from lorry_registry.home.records import Records, entries
from lorry_registry.references.names import check_name
from lorry_registry.references.reference import Reference


def upgrade(layout: Layout) -> None:
    """Make an older layout today's; raise LorryError where the home cannot be written to."""
    try:
        with _alone(layout):
            while (mark := layout.mark) in OLDER:
                step, after = _STEPS[str(mark)]
                step(layout)
                with durable.draft(layout.drafts) as draft:
                    durable.write(draft, f"{after}\n".encode())
                    durable.put(draft, layout.home / "FORMAT")
    except OSError as error:
        raise LorryError(
            f"{layout.home} is a registry of an older layout, which this lorry upgrades when it opens it, and that "
            f"failed: {durable.reason(error)}; open it once where it can be written to"
        ) from error


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Let one process at a time upgrade; the others wait. The lock is sqlite's, which ends with its process."""
    durable.make_folder(layout.drafts)
    with ExitStack() as stack:
        with suppress(sqlite3.Error):  # a damaged index, or a disk that cannot lock: each step stands for itself
            connection = stack.enter_context(closing(sqlite3.connect(layout.index, timeout=60)))
            connection.execute("BEGIN EXCLUSIVE")
        yield


def _add_checks(layout: Layout) -> None:
    """From 1: give aliases and lines of the log their checks."""
    for namespace in entries(layout.names, lambda text: check_name(text, "namespace") == text):
        for name in entries(layout.names / namespace, lambda text: check_name(text, "name") == text):
            Records(layout, Reference(namespace, name)).add_checks()


_STEPS: Mapping[str, tuple[Callable[[Layout], None], str]] = {"1": (_add_checks, "2")}
"""By layout: what leads to the next one, and which that is."""
