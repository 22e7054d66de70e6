"""Files that lorry writes, loaded by diffusers itself: every weight must become what it becomes here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import lorry
from lorry.ir import Adapter
from lorry.ops.judging.loaders import loads
from lorry.plugin.loader import LOADS

from .adapters import adapter
from .pipelines import Toy, own_name, published_widths


class Case(NamedTuple):
    """What is written: which kind in which dialect, for the modules a pattern names, at which scales."""

    base: str
    dialect: str
    kind: str = "lora"
    modules: str = ""
    scales: tuple[float, ...] = (0.5, 2.0, 1.0)

    def __repr__(self) -> str:
        """Say it briefly, for reports of failures."""
        return "-".join([self.base, self.dialect, self.kind, "uneven" if len(self.scales) > 1 else "even"])


NO_T5 = r"^(transformer|text_encoder)\."
"""diffusers loads nothing into T5."""

BLOCKS = rf"{NO_T5}.*(blocks|encoder)\."
"""All but what stands outside the blocks of FLUX, where diffusers' converters have gaps."""

ATTENTION = rf"{NO_T5}.*attn\."

CASES = [
    *(
        case
        for base in ("sd1", "sd2", "sdxl")
        for case in (
            Case(base, "diffusers"),
            Case(base, "diffusers", "dora", r"^unet"),
            Case(base, "kohya", scales=(0.5,)),
            Case(base, "lora-layers"),
            Case(base, "attn-procs"),
        )
    ),
    Case("flux1", "diffusers", modules=NO_T5),
    Case("flux1", "diffusers", "dora", r"^transformer\."),
    Case("flux1", "kohya", modules=BLOCKS),
    Case("flux1", "comfy", modules=BLOCKS),
    Case("flux1", "onetrainer", modules=ATTENTION),
    Case("flux1", "xlabs"),
    Case("flux1", "fal", modules=r"blocks\.|transformer.proj_out"),
    Case("flux2", "diffusers"),
    Case("flux2", "diffusers", "dora"),
    Case("flux2", "kohya", modules=BLOCKS),
    Case("flux2", "ai-toolkit", modules=BLOCKS),
    Case("flux2", "fal", modules=BLOCKS),
    Case("flux2", "peft", modules=BLOCKS, scales=(1.0,)),
    Case("flux2", "comfy", "lokr", r"single_|\.ff|to_\w*out"),
    Case("flux2", "lycoris", "lokr", BLOCKS),
]


def check(toy: Toy, made: Adapter, dialect: str, folder: Path) -> None:
    """Write an adapter, hold the rules' verdict against diffusers, and its weights against lorry's."""
    saved = lorry.save(made, folder / f"adapter{'' if dialect == 'peft' else '.safetensors'}", dialect)
    verdict = next(each for each in loads(lorry.open(saved.path)) if each.tool == "diffusers")
    assert (verdict.verdict, verdict.because) == (LOADS, "")
    file = saved.path if saved.path.is_file() else next(saved.path.glob("*.safetensors"))
    with published_widths(toy.models) if toy.base.id == "flux1" else nullcontext():
        loaded = toy.loaded(file)
    baked = toy.baked(made)
    touched = {
        own_name(path.component, f"{path.name}.{layer.param}") for path, stack in made.layers.items() for layer in stack
    }
    assert touched <= loaded.keys() & baked.keys()
    wrong = [
        name
        for name in loaded.keys() & baked.keys()
        if not torch.allclose(loaded[name], baked[name], rtol=1e-4, atol=1e-4)
    ]
    assert not wrong


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_diffusers_loads_what_lorry_writes(case: Case, toys: Callable[[str], Toy], tmp_path: Path) -> None:
    toy = toys(case.base)
    made = adapter(toy.base, case.dialect, case.kind, case.scales, case.modules)
    check(toy, made, case.dialect, tmp_path)
