"""The card: what the author says of a version, beside what reading it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument

if TYPE_CHECKING:
    from lorry_registry.version.manifest import Manifest

OTHER = "other"
"""The licence that is none of those with a name."""

_LASTING = ("title", "description", "license", "authors", "tags", "trigger_words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the author says of a version; what is empty is taken from the files themselves, or the version below."""

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

    def checked(self) -> Card:
        """Return it with the licence as spdx.org/licenses spells it; raise InvalidArgument for another, or "other"."""
        if self.license.lower() in ("", OTHER):
            return replace(self, license=self.license.lower())
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

        try:
            return replace(self, license=canonicalize_license_expression(self.license))
        except InvalidLicenseExpression as error:
            own = re.sub(r"[^A-Za-z0-9.]+", "-", self.license).strip("-") or "Mine"
            raise InvalidArgument(
                f"{self.license!r} is no licence that SPDX knows (spdx.org/licenses); write its identifier there, "
                f"Apache-2.0 say, or for one that has none LicenseRef-{own}, or {OTHER}"
            ) from error

    def following(self, below: Manifest) -> tuple[Card, tuple[str, ...]]:
        """Fill in what lasts from a version to the next; return also the names of that."""
        told = {**below.id.__dict__, "trigger_words": below.adapter.trigger_words}
        kept = {name: told[name] for name in _LASTING if told[name] and not getattr(self, name)}
        return replace(self, **kept), tuple(name.replace("_", " ") for name in kept)
