"""The card: what the author says of a version, beside what reading it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the author says of a version; what is empty is taken from the files themselves."""

    title: str = ""
    description: str = ""
    license: str = ""
    authors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()

    def completed(self, metadata: Mapping[str, str], trigger_words: Sequence[str]) -> Card:
        """Fill in from a header, whose fields are those of github.com/Stability-AI/ModelSpec, and words found."""

        def one(name: str) -> tuple[str, ...]:
            return tuple(text for text in [metadata.get(f"modelspec.{name}", "")] if text)

        return Card(
            title=self.title or "".join(one("title")),
            description=self.description or "".join(one("description")),
            license=self.license or "".join(one("license")),
            authors=self.authors or one("author"),
            tags=self.tags or tuple(tag.strip() for tag in "".join(one("tags")).split(",") if tag.strip()),
            trigger_words=self.trigger_words or tuple(trigger_words),
        )
