"""The contracts a plugin is written against, each imported when it is first asked for: commands start fast."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorry.plugin.backend import Backend as Backend
    from lorry.plugin.backend import Model as Model
    from lorry.plugin.backend import Request as Request
    from lorry.plugin.backend import Step as Step
    from lorry.plugin.base_model import BaseModel as BaseModel
    from lorry.plugin.base_model import Component as Component
    from lorry.plugin.base_model import ModelSpec as ModelSpec
    from lorry.plugin.base_model import Naming as Naming
    from lorry.plugin.base_model import Probe as Probe
    from lorry.plugin.base_model import View as View
    from lorry.plugin.command import Command as Command
    from lorry.plugin.container import Container as Container
    from lorry.plugin.dialect import Dialect as Dialect
    from lorry.plugin.dialect import Header as Header
    from lorry.plugin.dialect import HeaderFields as HeaderFields
    from lorry.plugin.dialect import NamedLayer as NamedLayer
    from lorry.plugin.dialect import Renaming as Renaming
    from lorry.plugin.fetched import Facts as Facts
    from lorry.plugin.fetched import Fetched as Fetched
    from lorry.plugin.fetched import Limits as Limits
    from lorry.plugin.hookspecs import API as API
    from lorry.plugin.hookspecs import hookimpl as hookimpl
    from lorry.plugin.kind import Factors as Factors
    from lorry.plugin.kind import FoundTokens as FoundTokens
    from lorry.plugin.kind import Kind as Kind
    from lorry.plugin.kind import Spelling as Spelling
    from lorry.plugin.kind import TokenLayout as TokenLayout
    from lorry.plugin.loader import Loader as Loader
    from lorry.plugin.loader import Rule as Rule
    from lorry.plugin.merge_method import DenseTerm as DenseTerm
    from lorry.plugin.merge_method import FactoredTerm as FactoredTerm
    from lorry.plugin.merge_method import MergeMethod as MergeMethod
    from lorry.plugin.merge_method import Option as Option
    from lorry.plugin.merge_method import Site as Site
    from lorry.plugin.store import Store as Store

_WHERE = {
    "Backend": "lorry.plugin.backend",
    "Model": "lorry.plugin.backend",
    "Request": "lorry.plugin.backend",
    "Step": "lorry.plugin.backend",
    "BaseModel": "lorry.plugin.base_model",
    "Component": "lorry.plugin.base_model",
    "ModelSpec": "lorry.plugin.base_model",
    "Naming": "lorry.plugin.base_model",
    "Probe": "lorry.plugin.base_model",
    "View": "lorry.plugin.base_model",
    "Command": "lorry.plugin.command",
    "Container": "lorry.plugin.container",
    "Dialect": "lorry.plugin.dialect",
    "Header": "lorry.plugin.dialect",
    "HeaderFields": "lorry.plugin.dialect",
    "NamedLayer": "lorry.plugin.dialect",
    "Renaming": "lorry.plugin.dialect",
    "Facts": "lorry.plugin.fetched",
    "Fetched": "lorry.plugin.fetched",
    "Limits": "lorry.plugin.fetched",
    "API": "lorry.plugin.hookspecs",
    "hookimpl": "lorry.plugin.hookspecs",
    "Factors": "lorry.plugin.kind",
    "FoundTokens": "lorry.plugin.kind",
    "Kind": "lorry.plugin.kind",
    "Spelling": "lorry.plugin.kind",
    "TokenLayout": "lorry.plugin.kind",
    "Loader": "lorry.plugin.loader",
    "Rule": "lorry.plugin.loader",
    "DenseTerm": "lorry.plugin.merge_method",
    "FactoredTerm": "lorry.plugin.merge_method",
    "MergeMethod": "lorry.plugin.merge_method",
    "Option": "lorry.plugin.merge_method",
    "Site": "lorry.plugin.merge_method",
    "Store": "lorry.plugin.store",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and no table
    __all__ = [*_WHERE]  # noqa: PLE0604  every name is in the table above


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'lorry.plugin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
