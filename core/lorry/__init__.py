"""Read, convert, merge, bake, publish, pull and run diffusion adapters of any make.

    adapter = lorry.open("cat.safetensors")          # lazy: headers only
    lorry.save(adapter, "cat-diffusers.safetensors", format="diffusers")
    with lorry.run("toybox-sd", [(adapter, 0.8)]) as model:
        model.generate(lorry.Request(prompt="a cat on teal", seed=1)).save("cat.png")

Everything here is loaded when it is first used: importing lorry imports neither torch nor any plugin.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lorry.errors import LorryError as LorryError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lorry.compose.baked_module import BakedModule as BakedModule
    from lorry.compose.baked_module import bake_module as bake_module
    from lorry.ir import Adapter as Adapter
    from lorry.ir import Layer as Layer
    from lorry.ir import ModulePath as ModulePath
    from lorry.ir import TensorRef as TensorRef
    from lorry.ir import Token as Token
    from lorry.ops.baking.bake import bake as bake
    from lorry.ops.baking.run import run as run
    from lorry.ops.baking.undo import undo_bake as undo_bake
    from lorry.ops.baking.write import write_base as write_base
    from lorry.ops.bases.base import Base as Base
    from lorry.ops.bases.base import open_base as open_base
    from lorry.ops.bases.convert import convert_base as convert_base
    from lorry.ops.comparing.diff import diff as diff
    from lorry.ops.extracting.extract import extract as extract
    from lorry.ops.judging.findings import Finding as Finding
    from lorry.ops.judging.findings import Verdict as Verdict
    from lorry.ops.judging.validate import validate as validate
    from lorry.ops.merging.merge import merge as merge
    from lorry.ops.ranks.resize import resize as resize
    from lorry.ops.reading.identify import Identity as Identity
    from lorry.ops.reading.read import identify as identify
    from lorry.ops.reading.read import open_adapter
    from lorry.ops.registry import registry as registry
    from lorry.ops.writing.convert import convert as convert
    from lorry.ops.writing.write import save as save
    from lorry.plugin.backend import Request as Request
    from lorry.plugin.host import Host as Host
    from lorry.plugin.host import host as host
    from lorry.recipe.reading import read_recipe as read_recipe
    from lorry.recipe.running import run_recipe as run_recipe

    open = open_adapter  # noqa: A001  the front door's own word for it; an import would not count as exported

_WHERE = {
    "Adapter": "lorry.ir", "Layer": "lorry.ir", "ModulePath": "lorry.ir", "TensorRef": "lorry.ir",
    "Token": "lorry.ir", "Base": "lorry.ops.bases.base", "Finding": "lorry.ops.judging.findings",
    "Verdict": "lorry.ops.judging.findings", "Identity": "lorry.ops.reading.identify",
    "Request": "lorry.plugin.backend", "Host": "lorry.plugin.host", "host": "lorry.plugin.host",
    "bake": "lorry.ops.baking.bake", "BakedModule": "lorry.compose.baked_module",
    "bake_module": "lorry.compose.baked_module", "convert": "lorry.ops.writing.convert",
    "convert_base": "lorry.ops.bases.convert", "diff": "lorry.ops.comparing.diff",
    "extract": "lorry.ops.extracting.extract", "resize": "lorry.ops.ranks.resize",
    "identify": "lorry.ops.reading.read", "merge": "lorry.ops.merging.merge",
    "open": "lorry.ops.reading.read:open_adapter", "open_base": "lorry.ops.bases.base",
    "registry": "lorry.ops.registry", "read_recipe": "lorry.recipe.reading", "run": "lorry.ops.baking.run",
    "run_recipe": "lorry.recipe.running", "save": "lorry.ops.writing.write", "undo_bake": "lorry.ops.baking.undo",
    "validate": "lorry.ops.judging.validate", "write_base": "lorry.ops.baking.write",
}  # fmt: skip

__all__ = [
    "Adapter", "BakedModule", "Base", "Finding", "Host", "Identity", "Layer", "LorryError", "ModulePath", "Request",
    "TensorRef", "Token", "Verdict", "bake", "bake_module", "convert", "convert_base", "diff", "extract", "host",
    "identify", "merge", "open", "open_base", "read_recipe", "registry", "resize", "run", "run_recipe", "save",
    "undo_bake", "validate", "write_base",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'lorry' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
