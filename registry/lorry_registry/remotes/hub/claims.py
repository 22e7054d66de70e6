"""What other people's cards claim: read with care, and believed in nothing.

YAML may name a block and use it again, which a few lines make grow beyond all memory: such cards are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_LARGEST = 64 << 10
_LONGEST, _MOST = 500, 100


class Claims(NamedTuple):
    """The front matter of a card, as far as it speaks of an adapter; pictures are paths in the repository."""

    base: str = ""
    license: str = ""
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()


def claims(card: str) -> Claims:
    """Read a card; what is none, or not as it should be, claims nothing."""
    front = _front_matter(card)
    licence = _text(front.get("license"))
    widgets = front.get("widget")
    outputs = [each.get("output") for each in widgets if isinstance(each, dict)] if isinstance(widgets, list) else []
    return Claims(
        base=", ".join(_texts(front.get("base_model"))),
        license=_text(front.get("license_name")) or licence if licence == "other" else licence,
        tags=_texts(front.get("tags")),
        trigger_words=_texts(front.get("instance_prompt")),
        pictures=_texts([each.get("url") for each in outputs if isinstance(each, dict)]),
    )


def _front_matter(card: str) -> Mapping[str, Any]:
    import yaml

    class Plain(yaml.SafeLoader):
        """Reads YAML that repeats nothing."""

        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401  the library's own signature
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

    found = _FRONT.match(card[:_LARGEST])
    if not found:
        return {}
    try:
        told = yaml.load(found[1], Plain)  # noqa: S506  made of SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _text(value: Any) -> str:  # noqa: ANN401  whatever YAML holds
    return " ".join(value.split())[:_LONGEST] if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401  whatever YAML holds
    found = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, map(_text, found))))[:_MOST]
