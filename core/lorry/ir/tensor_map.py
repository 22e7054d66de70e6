"""What a container holds before anybody has said what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorry.ir.tensor import TensorRef

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def stem(self) -> str:
        """Name of the file without its suffix, for formats that keep a token's text only there."""
        return self.paths[0].stem if self.paths else ""

    @property
    def folder(self) -> str:
        """Name of the folder, which tells the component where one of several has a folder to itself."""
        return self.paths[0].absolute().parent.name if self.paths else ""
