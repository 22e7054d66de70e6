"""One attribute of a running model exchanged for another object, and given back as the very object it was."""

from __future__ import annotations

from typing import Any, NamedTuple


class Swap(NamedTuple):
    """`owner.name` is `original` before and after, and `replacement` in between."""

    owner: Any
    name: str
    original: Any
    replacement: Any

    def install(self) -> None:
        """Put the replacement in."""
        setattr(self.owner, self.name, self.replacement)

    def remove(self) -> None:
        """Put the original back; harmless where it never left."""
        setattr(self.owner, self.name, self.original)
