"""Notes on versions: what may be said of one after it was published, beside the manifest that never changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lorry.errors import InvalidFile

_MOST_SIGNATURES = 16
_MOST_TEXT = 1 << 20


class Note(NamedTuple):
    """What is said of one version; None where nothing is.

    yanked: the reason; no range, no alias and no bare name finds the version any more, its exact number does.
    deprecated: the reason; it is still found, with a warning.
    replaced_by: the reference to use instead.
    signatures: what `lorry_registry.trust.signing` made of it, as a list in JSON.
    """

    yanked: str | None = None
    deprecated: str | None = None
    replaced_by: str | None = None
    signatures: str | None = None

    @property
    def warns(self) -> bool:
        """Whether the version should not be used."""
        return self.yanked is not None or self.deprecated is not None

    def yank(self, reason: str | None = None, replaced_by: str | None = None) -> Note:
        """Return the note that says it is yanked too; a reason from before stays where none is given."""
        told = (self.yanked or "") if reason is None else reason
        return self._replace(yanked=told, replaced_by=replaced_by or self.replaced_by)

    def deprecate(self, reason: str | None = None, replaced_by: str | None = None) -> Note:
        """Return the note that says it is deprecated too; a reason from before stays where none is given."""
        told = (self.deprecated or "") if reason is None else reason
        return self._replace(deprecated=told, replaced_by=replaced_by or self.replaced_by)

    def without(self, field: str) -> Note:
        """Return the note with one thing taken back."""
        left = self._replace(**{field: None})
        return left if left.warns else Note(signatures=self.signatures)

    def joined(self, other: Note) -> Note:
        """Return the note that says what either says, signed by both; of two that differ on a thing, this one's."""
        return Note(**(other.said | self.said)).signed(dict.fromkeys([*self.signed_by, *other.signed_by]))

    @property
    def signed_by(self) -> list[str]:
        """The signatures, each a text."""
        return list(json.loads(self.signatures)) if self.signatures else []

    def signed(self, signatures: Iterable[str]) -> Note:
        """Return the note with these signatures, the first 16 of them."""
        kept = list(signatures)[:_MOST_SIGNATURES]
        return self._replace(signatures=json.dumps(kept) if kept else None)

    def __str__(self) -> str:
        said = [("yanked", self.yanked), ("deprecated", self.deprecated)]
        told = [f"{word}{f': {reason}' if reason else ''}" for word, reason in said if reason is not None]
        return "; ".join([*told, *([f"use {self.replaced_by} instead"] if self.replaced_by else [])])

    @property
    def said(self) -> dict[str, str]:
        """What is said in words, by field."""
        return {name: text for name, text in self._replace(signatures=None)._asdict().items() if text is not None}

    def to_bytes(self) -> bytes:
        """Write it down as JSON, without what is not said."""
        signed = {"signatures": self.signatures} if self.signatures else {}
        return json.dumps(self.said | signed, sort_keys=True).encode() + b"\n"

    @staticmethod
    def from_bytes(data: bytes) -> Note:
        """Read a note; raise InvalidFile for what is none."""
        try:
            said = json.loads(data)
            found = {name: said.get(name) for name in Note._fields}
        except (ValueError, AttributeError, RecursionError) as error:
            raise InvalidFile(f"it is no note: {error}") from error
        if not all(text is None or isinstance(text, str) for text in found.values()):
            raise InvalidFile("it is no note: one of its values is not text")
        note = Note(**found)
        _check_signatures(note)
        return note


def _check_signatures(note: Note) -> None:
    try:
        text = note.signatures or "[]"
        found = json.loads(text) if len(text) <= _MOST_TEXT else None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise InvalidFile("it is no note: its signatures are too long, or no texts")
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"it is no note: its signatures are no list: {error}") from error


NOTHING = Note()
Change = Callable[[Note], Note]
