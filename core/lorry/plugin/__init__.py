"""The contracts a plugin is written against, and the host that finds plugins."""

from lorry.plugin.backend import Backend as Backend
from lorry.plugin.backend import Model as Model
from lorry.plugin.backend import Request as Request
from lorry.plugin.backend import Step as Step
from lorry.plugin.base_model import BaseModel as BaseModel
from lorry.plugin.base_model import Component as Component
from lorry.plugin.base_model import Naming as Naming
from lorry.plugin.base_model import Probe as Probe
from lorry.plugin.base_model import View as View
from lorry.plugin.command import Command as Command
from lorry.plugin.container import Container as Container
from lorry.plugin.dialect import Dialect as Dialect
from lorry.plugin.dialect import Header as Header
from lorry.plugin.dialect import HeaderFields as HeaderFields
from lorry.plugin.dialect import NamedLayer as NamedLayer
from lorry.plugin.hookspecs import API as API
from lorry.plugin.hookspecs import hookimpl as hookimpl
from lorry.plugin.kind import Factors as Factors
from lorry.plugin.kind import FoundTokens as FoundTokens
from lorry.plugin.kind import Kind as Kind
from lorry.plugin.kind import Spelling as Spelling
from lorry.plugin.kind import TokenLayout as TokenLayout
from lorry.plugin.merge_method import MergeMethod as MergeMethod
from lorry.plugin.store import Store as Store
