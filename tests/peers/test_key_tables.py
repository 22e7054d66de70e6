"""Tools that are no packages: what lorry writes for them is held against the rules that were made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import lorry
from lorry.ops.judging.loaders import loads
from lorry.plugin.loader import LOADS

from .adapters import adapter
from .pipelines import Toy

SD = ("sd1", "sd2", "sdxl")
IN_BLOCKS = r"blocks?\.|text_encoder"


class Case(NamedTuple):
    """Bases, the dialect that is meant for some tools, kinds that those know, and the modules they know."""

    bases: tuple[str, ...]
    dialect: str
    tools: tuple[str, ...]
    kinds: tuple[str, ...] = ("lora",)
    modules: str = ""


CASES = [
    Case(SD, "kohya", ("ComfyUI", "A1111", "Forge", "InvokeAI"), ("lora", "lokr")),
    Case(SD, "kohya", ("sd-scripts",), modules=IN_BLOCKS),
    Case(SD, "comfy", ("ComfyUI",), ("lora", "lokr")),
    Case(("flux1",), "kohya", ("ComfyUI", "Forge")),
    Case(("flux1",), "kohya", ("InvokeAI", "sd-scripts"), modules=IN_BLOCKS),
    Case(("flux1",), "comfy", ("ComfyUI",)),
    Case(("flux1",), "ai-toolkit", ("ComfyUI", "InvokeAI")),
    Case(("flux1",), "onetrainer", ("ComfyUI", "InvokeAI"), ("lora", "lokr")),
]

FILES = [
    pytest.param(base, case, kind, id=f"{base}-{case.dialect}-{kind}-for-{'+'.join(case.tools)}")
    for case in CASES
    for base in case.bases
    for kind in case.kinds
]


@pytest.mark.parametrize(("base", "case", "kind"), FILES)
def test_what_is_written_for_a_tool_is_in_its_tables(
    base: str, case: Case, kind: str, toys: Callable[[str], Toy], tmp_path: Path
) -> None:
    made = adapter(toys(base).base, case.dialect, kind, (0.5,), case.modules)
    saved = lorry.save(made, tmp_path / "adapter.safetensors", case.dialect)
    said = {each.tool: (each.verdict, each.because) for each in loads(lorry.open(saved.path))}
    assert {tool: said[tool] for tool in case.tools} == dict.fromkeys(case.tools, (LOADS, ""))
