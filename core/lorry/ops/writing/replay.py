"""What was not changed is written as it was read: whole files copied, and single keys put back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from lorry.ir.adapter import Adapter
from lorry.ir.file_source import FileSource
from lorry.ir.frame import Frame
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.plugin.container import Container
from lorry.plugin.dialect import Dialect


def untouched(adapter: Adapter, dialect: Dialect, container: Container) -> bool:
    """Tell whether an adapter is still all that one file of this format holds."""
    if len(adapter.origin) != 1:
        return False
    frame = adapter.origin[0]
    return (
        (frame.dialect, frame.container) == (dialect.name, container.name)
        and adapter.layers == frame.layers
        and adapter.tokens == frame.tokens
        and adapter.metadata == frame.source.metadata
        and frame.path.exists()
        and (frame.path.is_dir() or len(frame.source.paths) == 1)
    )


def replay(adapter: Adapter, frame: Frame, *, whole: bool) -> tuple[dict[str, TensorRef], Adapter]:
    """Return the keys whose layers and tokens are still the very ones read, and the adapter without those.

    A dialect whose header or numbering speaks of every layer needs the `whole` adapter to write it.
    """
    kept: set[ModulePath | str] = {
        path for path, layers in adapter.layers.items() if not whole and _same(layers, frame.layers.get(path))
    }
    kept |= {text for text, token in adapter.tokens.items() if frame.tokens.get(text) is token}
    changed_keys = {key for what, keys in frame.keys.items() if what not in kept for key in keys}
    kept = {what for what in kept if not changed_keys & set(frame.keys[what])}
    keys = {key for what in kept for key in frame.keys[what]} | set(adapter.extras)
    rest = replace(
        adapter,
        layers={path: layers for path, layers in adapter.layers.items() if path not in kept},
        tokens={text: token for text, token in adapter.tokens.items() if text not in kept},
    )
    return {key: ref for key, ref in frame.source.tensors.items() if key in keys}, rest


def _same(layers: tuple[Layer, ...], before: tuple[Layer, ...] | None) -> bool:
    return (
        before is not None and len(layers) == len(before) and all(a is b for a, b in zip(layers, before, strict=True))
    )


def copied(frame: Frame, target: Path) -> TensorMap:
    """Copy a file, or of a folder what belongs to the adapter: no trainer's state, nothing that was not read.

    Return what it holds. Raises InvalidFile where a file is not what it was when it was opened.
    """
    if frame.path.is_file():
        shutil.copyfile(frame.path, target)
    else:
        target.mkdir()
        for path in (*frame.source.paths, *frame.path.glob("*.index.json")):
            shutil.copyfile(path, target / path.name)
        for name, data in frame.source.sides.items():
            (target / name).write_bytes(data)
    for source in {segment.source for ref in frame.source.tensors.values() for segment in ref.segments}:
        if isinstance(source, FileSource):
            source.check()
    return frame.source
