"""Dialects whose keys carry the name of peft's adapter: `….lora_A.default.weight`.

A peft model's own state dict has it, and so have the files of tools that save one as it is (DiffSynth-Studio).
Source: peft src/peft/utils/save_and_load.py, which takes the name out; DiffSynth-Studio diffsynth/trainers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lorry.ir import TensorMap
from lorry.plugin import Dialect, Renaming, hookimpl
from lorry_plugins.formats.scale_doubt import without_alpha

LORRY_API = 1

_NAMED = re.compile(r"(\.lora_(?:A|B|magnitude_vector))\.([^.]+)(\.(?:weight|bias))$")
_FACTORS = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")
_NAMELESS = "no key has the name of an adapter after lora_A"
_SPELLED = re.compile(r"(\.lora_(?:A|B))(\.(?:weight|bias))$")


def _read(source: TensorMap) -> Mapping[str, str]:
    return {key: _NAMED.sub(r"\1\3", key) for key in source.tensors}


def _write(spelled: TensorMap) -> tuple[TensorMap, Mapping[str, str]]:
    named = {_SPELLED.sub(r"\1.default\2", key): ref for key, ref in spelled.tensors.items()}
    return replace(spelled, tensors=named), {}


def _refuse(source: TensorMap) -> str | None:
    if not source.mentions(*_FACTORS):
        return _NAMELESS
    names = {found[2] for key in source.tensors if (found := _NAMED.search(key))}
    if len(names) > 1:
        return f"it holds several adapters: {', '.join(sorted(names))}"
    return None if names else _NAMELESS


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer both."""
    renaming = Renaming(read=_read, write=_write)
    return [
        Dialect(
            name="diffsynth",
            title="DiffSynth-Studio (its own names of FLUX.1)",
            doubts=without_alpha("DiffSynth-Studio's scripts take alpha = rank only where they are not told otherwise"),
            naming="diffsynth",
            spellings=("peft-bare", "peft"),
            refuse=_refuse,
            renaming=renaming,
        ),
        Dialect(
            name="peft-named",
            title="peft state dict (lora_A.default; DiffSynth-Studio, training scripts)",
            doubts=without_alpha("a state dict comes without the configuration that holds it"),
            naming="peft-named",
            spellings=("peft-bare", "peft"),
            refuse=_refuse,
            renaming=renaming,
        ),
    ]
