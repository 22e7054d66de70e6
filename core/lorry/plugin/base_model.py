"""A base table: the modules of a base model under every name the field gives them. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class View(NamedTuple):
    """A module as another scheme names it, cut from one or more of ours.

    `name` and `parts` are templates over the same indices, as in "blocks.{i}.attn.qkv". `rows` are the
    relative row counts of the parts, so that any width works. `flip` says that the two halves of the rows
    stand in the other order (the shift and scale of an adaptive norm).
    """

    name: str
    parts: tuple[str, ...]
    rows: tuple[int, ...] = (1,)
    flip: bool = False


class Naming(NamedTuple):
    """How one family of dialects refers to a component: its prefixes and schemes, the first ones written."""

    prefixes: tuple[str, ...]
    schemes: tuple[str, ...] = ("diffusers",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Component:
    """One model inside a base.

    modules: templates of our own names, which are the diffusers / transformers-4 spelling on disk. They are
        the scheme "diffusers"; `schemes` holds the others.
    naming: by dialect family.
    embedding: width of its token embedding in the published models; 0 where it takes no tokens.
    vocabulary: the module that holds the token embedding.
    tokenizer: name of the folder with its tokenizer.
    """

    name: str
    modules: tuple[str, ...]
    schemes: Mapping[str, tuple[View, ...]] = field(default_factory=dict)
    naming: Mapping[str, Naming] = field(default_factory=dict)
    embedding: int = 0
    vocabulary: str = ""
    tokenizer: str = ""


class Probe(NamedTuple):
    """A fact that tells this base from others with the same names.

    It speaks of every module of `component` whose name ends with `module`. `ndim`, the number of axes of the
    weight, rules the base out where it differs. `width`, the input width in the published models, only
    speaks for or against it, since small relatives are welcome. `present` False rules out whatever has such
    a module, True a whole base model that has none.
    """

    component: str
    module: str
    ndim: int | None = None
    width: int | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseModel:
    """A family of base models with one module layout at any width and depth.

    The names are frozen: a change of one is a new `version`, and manifests record "id@version". `claims`
    are how headers call it (ss_base_model_version, modelspec.architecture): evidence where names and shapes
    leave a doubt, never against them.
    """

    id: str
    title: str
    components: tuple[Component, ...]
    probes: tuple[Probe, ...] = ()
    claims: tuple[str, ...] = ()
    version: int = 1

    def component(self, name: str) -> Component | None:
        """Return the component of that name."""
        return next((each for each in self.components if each.name == name), None)
