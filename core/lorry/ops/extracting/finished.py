"""Where finished layers of an extraction are kept: in memory, or in a folder that a second run goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lorry.errors import Conflict
from lorry.ops.disk.output import remove
from lorry.ops.extracting.layer import Piece

_WHAT = "extraction.json"


class Finished(Protocol):
    """Finished layers by number."""

    def has(self, at: int) -> bool:
        """Tell whether a layer is finished."""
        ...

    def get(self, at: int) -> Piece:
        """Return a finished layer."""
        ...

    def put(self, at: int, piece: Piece) -> None:
        """Keep a finished layer."""

    def clear(self) -> None:
        """Forget all of them, once nothing needs them any more."""


class FinishedInMemory:
    """Keeps finished layers in memory."""

    def __init__(self) -> None:
        self._pieces: dict[int, Piece] = {}

    def has(self, at: int) -> bool:
        """Tell whether a layer is finished."""
        return at in self._pieces

    def get(self, at: int) -> Piece:
        """Return a finished layer."""
        return self._pieces[at]

    def put(self, at: int, piece: Piece) -> None:
        """Keep a finished layer."""
        self._pieces[at] = piece

    def clear(self) -> None:
        """Forget all of them."""
        self._pieces.clear()


class FinishedInFolder:
    """Keeps each finished layer in a file of its own, whole or not at all.

    `what` tells what is extracted, from what and how: a folder of another extraction is emptied first. Raises
    Conflict for a folder that no extraction made.
    """

    def __init__(self, folder: Path, what: Mapping[str, Any]) -> None:
        self.folder = folder
        told = json.dumps(what, sort_keys=True, default=str)
        mark = folder / _WHAT
        if folder.exists() and not mark.is_file() and any(folder.iterdir()):
            raise Conflict(f"{folder} is no folder of an unfinished extraction; move it away")
        if mark.is_file() and mark.read_text(encoding="utf-8") != told:
            remove(folder)
        folder.mkdir(exist_ok=True)
        mark.write_text(told, encoding="utf-8")

    def has(self, at: int) -> bool:
        """Tell whether a layer is finished."""
        return self._path(at).is_file()

    def get(self, at: int) -> Piece:
        """Return a finished layer."""
        from safetensors import safe_open

        with safe_open(self._path(at), "pt") as file:
            told = json.loads(file.metadata()["piece"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        return Piece(told["form"], tensors, told["norm"], told["tail"])

    def put(self, at: int, piece: Piece) -> None:
        """Keep a finished layer."""
        from safetensors.torch import save_file

        told = json.dumps({"form": piece.form, "norm": piece.norm, "tail": piece.tail})
        draft = self._path(at).with_suffix(".part")
        tensors = {name: tensor.contiguous() for name, tensor in piece.tensors.items()}
        try:
            save_file(tensors, draft, {"piece": told})
            draft.replace(self._path(at))
        finally:
            draft.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder."""
        remove(self.folder)

    def _path(self, at: int) -> Path:
        return self.folder / f"{at:05}.safetensors"
