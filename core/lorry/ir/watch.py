"""Watching bytes go by: whoever copies or writes many tells how many, and whoever asked may show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Watch(Protocol):
    """What is told of bytes; it may be told from several threads."""

    def expect(self, size: int, /) -> None:
        """Take note that so many more bytes are to come."""

    def advance(self, size: int, /) -> None:
        """Take note that so many bytes are done."""


class _Nobody:
    def expect(self, size: int, /) -> None:
        pass

    def advance(self, size: int, /) -> None:
        pass


_watch: ContextVar[Watch] = ContextVar("lorry_watch", default=_Nobody())  # noqa: B039  it holds nothing


def watch() -> Watch:
    """Return who watches in this context; a thread that is started has none, so ask before starting it."""
    return _watch.get()


@contextmanager
def watched(by: Watch) -> Iterator[None]:
    """Let `by` watch what is copied and written inside."""
    token = _watch.set(by)
    try:
        yield
    finally:
        _watch.reset(token)
