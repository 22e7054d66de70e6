"""Where an adapter came from, so that what was not changed is written back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token


class Frame(NamedTuple):
    """One source as it was read: its bytes, its format, and which keys made which layers and tokens.

    `path` is what was opened: a file, or a folder whose files `source.paths` lists.
    `layers` and `tokens` are the very objects read from it: one that is still in the adapter has not
    been changed, so its keys are replayed. `keys` lists those behind each module path or token text.
    """

    path: Path
    container: str
    dialect: str
    source: TensorMap
    layers: Mapping[ModulePath, tuple[Layer, ...]]
    tokens: Mapping[str, Token]
    keys: Mapping[ModulePath | str, tuple[str, ...]]
