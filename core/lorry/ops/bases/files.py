"""The weight files of a base: which there are in a folder, and what each holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lorry.errors import InvalidFile
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.files import read_file
from lorry.plugin.host import Host

_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".bin")
_WRAPPER = "state_dict."


def base_files(path: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each component's weight files: one whole, or the shards an index lists.

    A file is a base of its own, under the component ""; so is a folder with weights in it and no components.
    """
    if not path.is_dir():
        yield "", [path]
        return
    parts = [(part.name, files) for part in sorted(path.iterdir()) if part.is_dir() and (files := _weights(part))]
    own = _weights(path)
    yield from parts if parts or not own else [("", own)]


def read_weights(file: Path, plugins: Host) -> TensorMap:
    """Read a weight file; of a training checkpoint, only what is under its `state_dict`."""
    source = read_file(file, plugins)[1]
    inside = {key: ref for key, ref in source.tensors.items() if key.startswith(_WRAPPER)}
    if not inside:
        return source
    return replace(source, tensors={key.removeprefix(_WRAPPER): ref for key, ref in inside.items()})


def _weights(folder: Path) -> list[Path]:
    for name in (f"{stem}{suffix}" for suffix in _SUFFIXES for stem in _WEIGHTS):
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
        if (folder / name).is_file():
            return [folder / name]
    return []


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidFile(f"{index} is no index of shards: {type(error).__name__}: {error}") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise InvalidFile(f"{index} lists the shard {name!r}, which is not beside it")
    return [index.parent / name for name in sorted(names)]
