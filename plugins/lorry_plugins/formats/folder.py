"""The folder container: an adapter as a folder, its weights in one file (or in shards), small files beside them.

Its weights are read by whichever container reads the file inside. A folder of a base model (model_index.json, or
components such as unet/ in it) is none of these.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorry.errors import InvalidFile, NotRecognised, NotRepresentable
from lorry.ir.file_source import FileSource
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.files import inside, read_file
from lorry.plugin import Container, hookimpl
from lorry.plugin.host import host

LORRY_API = 1

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
INDEX = ".safetensors.index.json"

SIDE_LIMIT = 1 << 20
SIDES_LIMIT = 32 << 20
INDEX_LIMIT = 8 << 20
BRACKET_LIMIT = 64
"""Lists and tables in an index of shards, which needs three."""
FILE_LIMIT = 10_000
"""Files in a folder: more take longer to look through than any adapter is worth."""

_BASE = ("model_index.json", "unet", "transformer", "text_encoder", "vae")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SIDES = (".json", ".md", ".txt", ".yaml", ".yml", ".png", ".jpg", ".jpeg", ".webp")
_NOTICES = ("LICENSE", "NOTICE")
_TRAINER = re.compile(r"(optimizer|scheduler|scaler|sampler|training_args|rng_state|random_states)(_\d+)?")
"""Stems of what trainers leave beside the weights to resume from, in the same kinds of files."""


@hookimpl
def lorry_containers() -> Iterable[Container]:
    """Provide the container."""
    return [Container(name="folder", title="folder", suffixes=(), sniff=sniff, read=read, write=write)]


def sniff(path: Path) -> bool:
    """Tell from its entries: there are weights in it, or the config of some, and no base model."""
    if not path.is_dir() or any((path / name).exists() for name in _BASE):
        return False
    return bool((path / PEFT_CONFIG).is_file() or _indexes(path) or _weights(path))


def read(path: Path) -> TensorMap:
    """Read the one weights file or the one sharded set, with text and pictures of up to 1 MiB as side files.

    Raises InvalidFile where there is no such one, or where shards and their index disagree.
    """
    indexes, weights = _indexes(path), _weights(path)
    shards = {index: _shards(index) for index in indexes}
    named = {name for found in shards.values() for name in found.values()}
    candidates = [*indexes, *(file for file in weights if file.name not in named)]
    if not candidates:
        raise InvalidFile(f"{path} has no weights file ({PEFT_WEIGHTS} or the like); fetch the whole folder")
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise InvalidFile(f"{path} holds several weights files: {names}; name one of them instead of the folder")
    (chosen,) = candidates
    found = _read_shards(path, shards[chosen]) if chosen in shards else _read_inner(inside(path, chosen))
    return TensorMap(
        tensors=found.tensors, metadata=found.metadata, values=found.values, sides=_sides(path), paths=found.paths
    )


def write(tensors: TensorMap, path: Path) -> None:
    """Write a new folder: the weights under the name that peft or diffusers look for, and the side files."""
    name = PEFT_WEIGHTS if PEFT_CONFIG in tensors.sides else DIFFUSERS_WEIGHTS
    strange = [side for side in tensors.sides if Path(side).name != side or "\\" in side or side in ("", "..", name)]
    if strange:
        raise NotRepresentable("a folder", dict.fromkeys(strange, "is not a plain name for a side file"))
    weights = host().get("containers", "safetensors")
    path.mkdir()
    inner = TensorMap(tensors=tensors.tensors, metadata=tensors.metadata, values=tensors.values)
    weights.write(inner, path / name)
    for side, data in tensors.sides.items():
        (path / side).write_bytes(data)


def _files(path: Path) -> list[Path]:
    entries = list(itertools.islice(path.iterdir(), FILE_LIMIT + 1))
    if len(entries) > FILE_LIMIT:
        raise InvalidFile(f"{path} holds more than {FILE_LIMIT:,} files; name the weights file instead of the folder")
    return sorted(file for file in entries if file.is_file() and not file.name.startswith("."))


def _indexes(path: Path) -> list[Path]:
    return [file for file in _files(path) if file.name.endswith(INDEX)]


def _weights(path: Path) -> list[Path]:
    """List files of weights; X.bin only where there is no X.safetensors, as diffusers and peft choose too."""
    files = [file for file in _files(path) if file.suffix in _WEIGHTS and not _TRAINER.fullmatch(file.stem)]
    stems = {file.stem for file in files if file.suffix == ".safetensors"}
    return [file for file in files if file.suffix != ".bin" or file.stem not in stems]


def _shards(index: Path) -> dict[str, str]:
    """Read an index: the shard of each key. Raises InvalidFile, also for shards that are no names in its folder."""
    source = FileSource.open(inside(index.parent, index))
    if source.size > INDEX_LIMIT:
        raise InvalidFile(f"{index} takes {source.size:,} bytes, more than any index of shards; it is refused")
    data = source.read(0, source.size)
    if data.count(b"{") + data.count(b"[") > BRACKET_LIMIT:
        raise InvalidFile(f"{index} is nested beyond any index of shards; it is refused")
    try:
        table = json.loads(data.decode(), object_pairs_hook=_unique)["weight_map"]
        shards = {str(key): str(name) for key, name in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidFile(f"{index} is not an index of shards ({error}); fetch it again") from None
    for name in set(shards.values()):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InvalidFile(f"{index} names the shard {name!r}, which is no file beside it; fetch it again")
    return shards


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _read_inner(file: Path) -> TensorMap:
    """Read one file of weights; what no container reads is broken, by the place where it stands."""
    try:
        return read_file(file)[1]
    except NotRecognised as error:
        raise InvalidFile(str(error)) from None


def _read_shards(path: Path, shards: dict[str, str]) -> TensorMap:
    """Put the shards together, in the order of their names, and hold them against their index."""
    tensors: dict[str, TensorRef] = {}
    metadata: dict[str, str] = {}
    paths: list[Path] = []
    announced: dict[str, set[str]] = {}
    for key, name in shards.items():
        announced.setdefault(name, set()).add(key)
    for name, wanted in sorted(announced.items()):
        if not (path / name).is_file():
            raise InvalidFile(f"{path} lacks the shard {name}; fetch the whole folder")
        found = _read_inner(inside(path, path / name))
        for key in sorted(wanted ^ found.tensors.keys()):
            state = "lacks" if key in wanted else "holds unannounced"
            raise InvalidFile(f"{path / name} {state} the tensor {key!r}, against its index; fetch the folder again")
        for key, value in found.metadata.items():
            if metadata.setdefault(key, value) != value:
                raise InvalidFile(f"{path} has shards that disagree on {key!r} in their metadata; fetch it again")
        tensors |= found.tensors
        paths += found.paths
    return TensorMap(tensors=tensors, metadata=metadata, paths=tuple(paths))


def _sides(path: Path) -> dict[str, bytes]:
    """Read what belongs to the adapter beside its weights: text and pictures, never pickles."""
    files = [
        FileSource.open(inside(path, file))
        for file in _files(path)
        if (file.suffix.lower() in _SIDES or file.stem in _NOTICES) and not file.name.endswith(INDEX)
    ]
    small = {file.path.name: file for file in files if file.size <= SIDE_LIMIT}
    if (path / PEFT_CONFIG).exists() and PEFT_CONFIG not in small:
        raise InvalidFile(f"{path / PEFT_CONFIG} takes more than {SIDE_LIMIT:,} bytes; no config of an adapter does")
    if sum(file.size for file in small.values()) > SIDES_LIMIT:
        raise InvalidFile(f"{path} holds more than {SIDES_LIMIT:,} bytes beside its weights; name the weights file")
    return {name: file.read(0, file.size) for name, file in small.items()}
