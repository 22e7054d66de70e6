"""What is where when a base is written: names of weight files, and everything in a folder that is no weights."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lorry.errors import InvalidArgument
from lorry.ir.tensor import TensorRef

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".index.json", ".msgpack", ".onnx")


_SHARD = re.compile(r"-\d+-of-\d+(?=\.)")


def check_file_name(path: Path) -> None:
    """Raise InvalidArgument for a checkpoint's name that would belie what is in it."""
    if path.suffix != ".safetensors":
        raise InvalidArgument(f"{path}: checkpoints are written as safetensors; end the name with .safetensors")


def check_folder_name(path: Path) -> None:
    """Raise InvalidArgument for a folder's name that would be taken for a file of weights."""
    if path.name.lower().endswith(_WEIGHT_SUFFIXES):
        raise InvalidArgument(f"{path} would be taken for a file, and a folder is what is written; name it {path.stem}")


def index_name(shard: str) -> str:
    """Return what the index of a shard and its like is called."""
    return _SHARD.sub("", shard) + ".index.json"


def shards(name: str, tensors: Mapping[str, TensorRef], size: int) -> dict[str, dict[str, TensorRef]]:
    """Divide tensors, in their order, into files of at most `size` bytes of them; a larger tensor has its own.

    The files are called as diffusers and transformers call shards of the file `name`, or that where one will do.
    """
    divided: list[dict[str, TensorRef]] = [{}]
    free = size
    for key, ref in tensors.items():
        if ref.nbytes > free and divided[-1]:
            divided.append({})
            free = size
        divided[-1][key] = ref
        free -= ref.nbytes
    if len(divided) == 1:
        return {name: divided[0]}
    stem, _, suffix = name.rpartition(".")
    return {f"{stem}-{at:05}-of-{len(divided):05}.{suffix}": each for at, each in enumerate(divided, 1)}


def write_index(folder: Path, shards: Mapping[str, Mapping[str, TensorRef]]) -> None:
    """Write the index that tells which shard holds which tensor."""
    table = {
        "metadata": {"total_size": sum(ref.nbytes for held in shards.values() for ref in held.values())},
        "weight_map": {key: shard for shard, held in shards.items() for key in held},
    }
    text = json.dumps(table, indent=2, sort_keys=True) + "\n"
    (folder / index_name(next(iter(shards)))).write_text(text, encoding="utf-8")


def indexes_of(files: Iterable[Path]) -> list[Path]:
    """Return the indexes that list some weight files as shards."""
    found = dict.fromkeys(file.with_name(index_name(file.name)) for file in files)
    return [index for index in found if index.is_file()]


def rest_of(folder: Path) -> Iterator[Path]:
    """Yield every file below a base's folder but weights: configurations, tokenizers."""
    for at, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(_WEIGHT_SUFFIXES) or name.startswith(("tokenizer", "vocab")):
                yield Path(at, name)


def copy_rest(source: Path, target: Path) -> None:
    """Copy everything but weights; contents only, since the mode of a base that is read-only must not come along."""
    for folder, _, _ in os.walk(source):
        (target / Path(folder).relative_to(source)).mkdir(exist_ok=True)
    for file in rest_of(source):
        shutil.copyfile(file, target / file.relative_to(source))


def safetensors_name(name: str) -> str:
    """Return what diffusers and transformers call the file of safetensors that stands for one of pickles."""
    stem, _, suffix = name.rpartition(".")
    return name if suffix == "safetensors" else f"{re.sub('^pytorch_model', 'model', stem)}.safetensors"
