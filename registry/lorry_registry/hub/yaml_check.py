"""The front matter of a model card: read without trusting it."""

from __future__ import annotations

from typing import Any

import yaml

_LARGEST = 64 << 10
_FENCE = "---"


class _Plain(yaml.SafeLoader):
    """YAML without aliases: a few lines of those can stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read here; write the value out")
        return super().compose_node(parent, index)


def front_matter(text: str) -> dict[str, Any]:
    """Return the fields between a card's first two lines of "---"; none where it has no such lines.

    Raises ValueError saying what is wrong with them.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return {}
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise ValueError("the front matter has no end: a line of three dashes is missing")
    if sum(map(len, lines[1:end])) > _LARGEST:
        raise ValueError(f"front matter of more than {_LARGEST:,} characters")
    try:
        found = yaml.load("\n".join(lines[1:end]), Loader=_Plain)  # noqa: S506  plain values alone
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"the front matter is no YAML that is read here: {error}") from error
    if not isinstance(found, dict | None):
        raise ValueError("the front matter is no mapping of names to values")  # noqa: TRY004  it is about the text
    return {str(name): value for name, value in (found or {}).items()}
