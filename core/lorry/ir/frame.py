"""Where an adapter came from, so that what was not changed is written back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token


class Published(NamedTuple):
    """Which version of an adapter a store answered a reference with: its exact reference, and the digest of all of it.

    `digest` is "sha256:" or "blake3:" and hex, of what that store knows a version by.
    """

    reference: str
    digest: str


class Frame(NamedTuple):
    """One source as it was read: its bytes, its format, and which keys made which layers and tokens.

    `path` is what was opened: a file, or a folder whose files `source.paths` lists.
    `layers` and `tokens` are the very objects read from it: one that is still in the adapter has not
    been changed, so its keys are replayed. `keys` lists those behind each module path or token text.
    `version` is what it was opened as, where that was by a reference.
    """

    path: Path
    container: str
    dialect: str
    source: TensorMap
    layers: Mapping[ModulePath, tuple[Layer, ...]]
    tokens: Mapping[str, Token]
    keys: Mapping[ModulePath | str, tuple[str, ...]]
    version: Published | None = None
