"""Every hook on one page.

A plugin is a module that implements one or more of them:

    from lorry.plugin import Kind, hookimpl

    LORRY_API = 1

    @hookimpl
    def lorry_kinds():
        return [Kind(name="mine", ...)]

and is named in the entry-point group of the same name: [project.entry-points."lorry.kinds"].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorry.plugin.backend import Backend
    from lorry.plugin.base_model import BaseModel
    from lorry.plugin.command import Command
    from lorry.plugin.container import Container
    from lorry.plugin.dialect import Dialect
    from lorry.plugin.kind import Kind
    from lorry.plugin.loader import Loader
    from lorry.plugin.merge_method import MergeMethod
    from lorry.plugin.store import Store

hookspec = pluggy.HookspecMarker("lorry")
hookimpl = pluggy.HookimplMarker("lorry")

API = 1
"""Version of these contracts; a plugin states the one it was written for as LORRY_API."""


@hookspec
def lorry_containers() -> Iterable[Container]:
    """Ways of packing tensors into bytes: safetensors, ckpt, a folder."""


@hookspec
def lorry_dialects() -> Iterable[Dialect]:
    """Ways of naming an adapter's modules and slots: kohya, diffusers, peft."""


@hookspec
def lorry_kinds() -> Iterable[Kind]:
    """Meanings of a layer: LoRA, textual inversion."""


@hookspec
def lorry_base_models() -> Iterable[BaseModel]:
    """Tables of base models: SD1, SDXL, FLUX.1."""


@hookspec
def lorry_backends() -> Iterable[Backend]:
    """Ways of running a base model with adapters attached."""


@hookspec
def lorry_merge_methods() -> Iterable[MergeMethod]:
    """Ways of making one adapter of several."""


@hookspec
def lorry_stores() -> Iterable[Store]:
    """Places where adapters and bases are found by reference."""


@hookspec
def lorry_commands() -> Iterable[Command]:
    """Commands of the `lorry` command line."""


@hookspec
def lorry_loaders() -> Iterable[Loader]:
    """Tools that load adapters, with the rules of what they load: diffusers, ComfyUI."""
