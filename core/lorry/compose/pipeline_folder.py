"""From a diffusers folder to a pipeline: local files only, safetensors only, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorry.algebra.device import checked_device
from lorry.errors import Incompatible, InvalidArgument, InvalidFile, MissingExtra, NotFound

INDEX = "model_index.json"

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LIBRARIES = ("diffusers", "transformers")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


def pipeline_class(folder: Path, known: Collection[str]) -> str:
    """Return the pipeline class a folder names; raise NotFound, InvalidFile, or Incompatible for one not in `known`."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; give a base model's diffusers folder (lorry convert-base writes one)")
    name = str(_index(folder).get("_class_name", ""))
    if name not in known:
        raise Incompatible(
            f"{folder / INDEX} names the pipeline {name or 'none'}; this backend runs {', '.join(known)}"
        )
    return name


def open_pipeline(folder: Path, device: str, dtype: str | None) -> Any:  # noqa: ANN401  diffusers' classes are untyped
    """Open a folder as the diffusers pipeline it names, on a device and in a dtype.

    device: "auto" (CUDA, MPS, CPU), or what torch calls it. dtype: float32, bfloat16 or float16; None takes
    float32 on a CPU, float16 on MPS and bfloat16 on CUDA.

    Safety checkers and image encoders are left out: text-to-image needs neither, and a checker would blacken
    pictures. Raises MissingExtra, InvalidArgument, and InvalidFile for a folder that is damaged or lacks weights;
    weights that are missing are never made up.
    """
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise MissingExtra("running a base model", library, "torch")
    place = torch.device(checked_device(device, float64=False))
    kind = _dtype(dtype, place)
    import diffusers

    index = _index(folder)
    unused = {name: None for name in _UNUSED if name in index}
    used = {name: entry for name, entry in index.items() if isinstance(entry, list) and entry[0] and name not in unused}
    _check_whole(folder, used)
    with _quiet():
        try:
            models = {name: _model(folder, name, entry, kind) for name, entry in used.items()}
            pipeline = getattr(diffusers, str(index["_class_name"])).from_pretrained(
                folder, local_files_only=True, **{name: each for name, each in models.items() if each}, **unused
            )
        except (Incompatible, InvalidFile):
            raise
        except Exception as error:  # a damaged folder raises anything at all in the libraries below
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InvalidFile(f"{folder} cannot be opened: {reason}") from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(place)


def _check_whole(folder: Path, used: Collection[str]) -> None:
    """Raise InvalidFile where a component is missing: transformers makes up a tokenizer that has no vocabulary."""
    for name in used:
        present = {path.name for path in (folder / name).glob("*")}
        if not present or (name.startswith("tokenizer") and present.isdisjoint(_VOCABULARIES)):
            lack = f"has none of {', '.join(_VOCABULARIES)}" if present else "is missing or empty"
            raise InvalidFile(f"{folder / name} {lack}, and {INDEX} names it; fetch the base again")


def _model(folder: Path, name: str, entry: list[Any], dtype: torch.dtype) -> nn.Module | None:
    """Open one component that has weights; None for the others, which the pipeline opens itself."""
    library, kind = entry
    if library not in _LIBRARIES:
        raise Incompatible(f"{folder / INDEX}: {name} is {library}.{kind}, code that lorry does not run")
    cls = getattr(importlib.import_module(library), kind)
    if not issubclass(cls, nn.Module):
        return None
    opener: Any = cls
    model, info = opener.from_pretrained(
        folder / name, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise InvalidFile(
            f"{folder / name} lacks {len(missing)} of its weights, first {missing[0]}; fetch the base again"
        )
    opened: nn.Module = model
    return opened


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise Incompatible(
            f"{folder} has no {INDEX}, so that its components are known but not how they work together; "
            "give a whole diffusers folder to run it"
        )
    try:
        index = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidFile(f"{path} is not JSON: {error}") from error
    if not isinstance(index, dict):
        raise InvalidFile(f"{path} is not a JSON object")
    return index


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        name = {"cpu": "float32", "mps": "float16"}.get(device.type, "bfloat16")
    if name not in _DTYPES:
        raise InvalidArgument(f"dtype {name!r} is not among {', '.join(_DTYPES)}")
    return _DTYPES[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes and progress bars of both libraries while a folder is opened; errors are raised anyway."""
    import diffusers
    import transformers

    logs = [diffusers.utils.logging, transformers.utils.logging]
    levels = [log.get_verbosity() for log in logs]
    bars = [log.is_progress_bar_enabled() for log in logs]
    try:
        for log in logs:
            log.set_verbosity(log.CRITICAL)
            log.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level, shown in zip(logs, levels, bars, strict=True):
            log.set_verbosity(level)
            if shown:
                log.enable_progress_bar()
