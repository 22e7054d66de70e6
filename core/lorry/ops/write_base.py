"""Writing a baked base in its own layout: changed tensors computed as they are written, everything else copied."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ir.tensor import Segment, TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token
from lorry.ops.bake import Baked
from lorry.ops.base_files import read_weights
from lorry.ops.output import replacing
from lorry.ops.stored import Stored
from lorry.plugin.base_model import BaseModel, Component

_SHARD = re.compile(r"-\d+-of-\d+(?=\.)")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".index.json", ".msgpack", ".onnx")


def write_base(baked: Baked, path: str | Path, *, tokens: Sequence[Token] = (), force: bool = False) -> None:
    """Write the base with its changes at `path`: as a folder where it is one, else as a single safetensors file.

    Files in which nothing changes are copied bit for bit; the others are streamed, one changed tensor in
    memory at a time. `tokens` join the tokenizers and the text encoders' embeddings, for which a single file has
    no place: Incompatible. Weight files that the base did not open (other precisions, root checkpoints) would be
    stale and are left out.
    """
    base = baked.base
    if base.path.is_file():
        if tokens:
            raise Incompatible(
                f"{base.path} is one file, without the tokenizer that learned tokens join; rewrite it as a folder "
                "first (lorry convert-base --to diffusers --like FOLDER), or leave the tokens out"
            )
        check_file_name(Path(path))
        with replacing(Path(path), force=force) as draft:
            _Weights(baked, base.path.parent, {}).write_one(base.path, draft)
        return
    with replacing(Path(path), force=force) as draft:
        copy_rest(base.path, draft)
        grown = _Vocabulary(baked, draft).add(tokens) if tokens else {}
        for folder in dict.fromkeys(file.parent for file in base.files):
            _Weights(baked, folder, grown).write(draft / folder.relative_to(base.path))


def check_file_name(path: Path) -> None:
    """Raise InvalidArgument for a checkpoint's name that would belie what is in it."""
    if path.suffix != ".safetensors":
        raise InvalidArgument(f"{path}: checkpoints are written as safetensors; end the name with .safetensors")


class _Weights:
    """The weight files of one component: copied where nothing in them changes, else computed as they are written."""

    def __init__(self, baked: Baked, folder: Path, grown: Mapping[str, TensorRef]) -> None:
        self._baked, self._grown = baked, grown
        self._files = {file: names for file, names in baked.base.files.items() if file.parent == folder}

    def write(self, folder: Path) -> None:
        """Write them at `folder`; shards get an index, and pickles become safetensors if one of them changes."""
        changed = any(map(self._changed, self._files))
        index: dict[str, str] = {}
        size = 0
        for file in self._files:
            place = folder / (_safetensors_name(file.name) if changed else file.name)
            tensors = self.write_one(file, place)
            index |= dict.fromkeys(tensors.tensors, place.name)
            size += sum(ref.nbytes for ref in tensors.tensors.values())
        if len(self._files) > 1:
            name = _SHARD.sub("", place.name) + ".index.json"
            told = {"metadata": {"total_size": size}, "weight_map": index}
            (folder / name).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def write_one(self, file: Path, place: Path) -> TensorMap:
        """Write one file at `place` and return what is in it: a copy where nothing changes, not even the container."""
        source = read_weights(file, self._baked.plugins)
        if not self._changed(file) and file.suffix == place.suffix:
            shutil.copyfile(file, place)
            return source
        stored = self._files[file]
        tensors = {key: self._value(ref, stored.get(key)) for key, ref in source.tensors.items()}
        written = TensorMap(tensors=tensors, metadata=source.metadata)
        self._baked.plugins.get("containers", "safetensors").write(written, place)
        return written

    def _changed(self, file: Path) -> bool:
        return any(self._changes(name) for stored in self._files[file].values() for name in stored.names)

    def _changes(self, name: str) -> bool:
        return name in self._baked.changes or name in self._grown

    def _value(self, ref: TensorRef, stored: Stored | None) -> TensorRef:
        if stored is None or not any(map(self._changes, stored.names)):
            return ref
        return stored.join([self._part(name) for name in stored.names])

    def _part(self, name: str) -> TensorRef:
        ref = self._baked.base.tensors[name]
        return self._grown.get(name) or (_computed(self._baked, name, ref) if name in self._baked.changes else ref)


class _Computed:
    """Bytes of a baked tensor: computed when the first of them are read, dropped when all have been."""

    def __init__(self, baked: Baked, name: str, ref: TensorRef) -> None:
        self._baked, self._name, self._ref = baked, name, ref
        self._bytes = b""
        self._left = ref.nbytes

    def read_into(self, start: int, buffer: memoryview) -> None:
        if not self._bytes:
            self._bytes = TensorRef.from_torch(self._baked.compute(self._name, self._ref)).tobytes()
        buffer[:] = self._bytes[start : start + len(buffer)]
        self._left -= len(buffer)
        if self._left <= 0:
            self._bytes, self._left = b"", self._ref.nbytes


class _Vocabulary:
    """Learned tokens added to the tokenizers of a new folder, and the embeddings they make longer."""

    def __init__(self, baked: Baked, folder: Path) -> None:
        self._baked, self._folder = baked, folder
        self._model: BaseModel = baked.plugins.get("base_models", baked.base.id)

    def add(self, tokens: Sequence[Token]) -> Mapping[str, TensorRef]:
        """Add the tokens and return the embeddings that grew, by tensor name."""
        known: dict[str, Token] = {}
        for token in tokens:
            if not known.setdefault(token.text, token).same(token):
                raise Conflict(f"two adapters teach the token {token.text!r} different vectors; bake them one by one")
        tokens = list(known.values())
        grown: dict[str, TensorRef] = {}
        for component in self._model.components:
            mine = [token for token in tokens if component.name in token.vectors]
            if mine:
                grown |= self._grow(component, mine)
        return grown

    def _grow(self, component: Component, tokens: Sequence[Token]) -> dict[str, TensorRef]:
        import torch
        from transformers import AutoTokenizer

        name = f"{component.name}.{component.vocabulary}.weight"
        folder = self._folder / component.tokenizer
        if name not in self._baked.base.tensors or not folder.is_dir():
            raise Incompatible(f"{self._baked.base.path} has no {name} or no {component.tokenizer} to add tokens to")
        matrix = self._baked[name]
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        for token in tokens:
            vectors = token.vectors[component.name].torch(dtype=matrix.dtype)
            if vectors.shape[1] != matrix.shape[1]:
                raise Incompatible(
                    f"the token {token.text!r} has vectors of width {vectors.shape[1]}, {name} has {matrix.shape[1]}"
                )
            words = [token.text, *(f"{token.text}_{at}" for at in range(1, len(vectors)))]
            if taken := [word for word in words if word in tokenizer.get_vocab()]:
                raise Conflict(
                    f"{taken[0]!r} is in the vocabulary of {component.tokenizer} already, and the word would lose its "
                    "vector; attach the adapter when running instead (lorry generate)"
                )
            tokenizer.add_tokens(words)
            rows = [tokenizer.convert_tokens_to_ids(word) for word in words]
            missing = max(rows) + 1 - len(matrix)
            if missing > 0:
                matrix = torch.cat([matrix, matrix.new_zeros(missing, matrix.shape[1])])
            matrix[rows] = vectors
        tokenizer.save_pretrained(folder)
        config = self._folder / component.name / "config.json"
        told = {**json.loads(config.read_text()), "vocab_size": len(matrix)}
        if tokenizer.eos_token_id is not None:
            # Published SDXL and FLUX say 2, which makes CLIP pool at the largest id: now that would be the new word.
            told["eos_token_id"] = tokenizer.eos_token_id
        config.write_text(json.dumps(told, indent=2) + "\n")
        return {name: TensorRef.from_torch(matrix)}


def _computed(baked: Baked, name: str, ref: TensorRef) -> TensorRef:
    return TensorRef(ref.dtype, ref.shape, (Segment(_Computed(baked, name, ref), 0, ref.nbytes),))


def copy_rest(source: Path, target: Path) -> None:
    """Copy everything but weights; contents only, since the mode of a base that is read-only must not come along."""
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir()
        for name in names:
            if not name.endswith(_WEIGHT_SUFFIXES) or name.startswith(("tokenizer", "vocab")):
                shutil.copyfile(Path(folder, name), place / name)


def _safetensors_name(name: str) -> str:
    """Return what diffusers and transformers call the file of safetensors that stands for one of pickles."""
    stem, _, suffix = name.rpartition(".")
    return name if suffix == "safetensors" else f"{re.sub('^pytorch_model', 'model', stem)}.safetensors"
