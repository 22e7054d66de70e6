"""What a container holds before anybody has said what it means."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lorry.ir.tensor import TensorRef

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class TensorMap:
    """Tensors by key in file order, with everything else the container carried.

    `values` are leaves that are no tensors (a pickle's step count, say), under the same dotted keys as
    the tensors; `sides` are files that belong to it, by name; `paths` are the files it was read from.
    """

    tensors: Mapping[str, TensorRef]
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Scalar] = field(default_factory=dict)
    sides: Mapping[str, bytes] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()

    def begins(self, *leads: str) -> bool:
        """Tell whether a key begins with one of these."""
        return _begins(self._sorted, leads)

    def ends(self, *endings: str) -> bool:
        """Tell whether a key ends with one of these."""
        return _begins(self._backwards, (ending[::-1] for ending in endings))

    def mentions(self, *parts: str) -> bool:
        """Tell whether a key has one of these anywhere in it."""
        text = self._text
        return any(part in text for part in parts)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.tensors)

    @cached_property
    def _backwards(self) -> list[str]:
        return sorted(key[::-1] for key in self.tensors)

    @cached_property
    def _text(self) -> str:
        return "\n".join(self.tensors)

    @property
    def stem(self) -> str:
        """Name of the file without its suffix, for formats that keep a token's text only there."""
        return self.paths[0].stem if self.paths else ""

    @property
    def folder(self) -> str:
        """Name of the folder, which tells the component where one of several has a folder to itself."""
        return self.paths[0].absolute().parent.name if self.paths else ""


def _begins(texts: Sequence[str], leads: Iterable[str]) -> bool:
    """Tell whether one of the sorted texts begins with one of these."""
    places = ((bisect_left(texts, lead), lead) for lead in leads)
    return any(at < len(texts) and texts[at].startswith(lead) for at, lead in places)
