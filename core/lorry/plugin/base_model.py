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

    The rest concerns weights of the base, not adapters. `params` pairs the scheme's names of parameters with
    ours where they differ ("scale" and "weight"), the first one of each written; the view then has no others.
    A parameter named "" is the module's own name, with nothing after it.
    `transposed` says that a matrix has its axes the other way round, `conv` that a linear layer of ours is a
    1x1 convolution.
    """

    name: str
    parts: tuple[str, ...]
    rows: tuple[int, ...] = (1,)
    flip: bool = False
    params: tuple[tuple[str, str], ...] = ()
    transposed: bool = False
    conv: bool = False


class Naming(NamedTuple):
    """How a family of dialects or a checkpoint refers to a component: its prefixes and schemes, the first written."""

    prefixes: tuple[str, ...]
    schemes: tuple[str, ...] = ("diffusers",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Component:
    """One model inside a base.

    modules: templates of our own names, which are the diffusers / transformers-4 spelling on disk. They are
        the scheme "diffusers"; `schemes` holds the others.
    naming: by dialect family.
    checkpoints: by layout of whole checkpoints ("ldm", "bfl" …). "diffusers" is a folder a component, and need
        only be given where more than our own names are found in it.
    depth: a module that must be there for the names of its other schemes to hold, where they count blocks.
    embedding: width of its token embedding in the published models; 0 where it takes no tokens.
    vocabulary: the module that holds the token embedding.
    lookups: templates of our own names of the modules that look rows of their weight up by number (nn.Embedding).
    tokenizer: name of the folder with its tokenizer.
    """

    name: str
    modules: tuple[str, ...]
    schemes: Mapping[str, tuple[View, ...]] = field(default_factory=dict)
    naming: Mapping[str, Naming] = field(default_factory=dict)
    checkpoints: Mapping[str, Naming] = field(default_factory=dict)
    depth: str = ""
    embedding: int = 0
    vocabulary: str = ""
    lookups: tuple[str, ...] = ()
    tokenizer: str = ""


class Probe(NamedTuple):
    """A fact that tells this base from others with the same names.

    It speaks of every module of `component` whose name ends with `module`. `ndim`, the number of axes of the
    weight, rules the base out where it differs, and so does `ratio`, its output width by its input width.
    `width`, the input widths in the published models, only speaks for or against it, since small relatives
    are welcome. `present` False rules out whatever has such a module, True a whole base model that has none.
    """

    component: str
    module: str
    ndim: int | None = None
    width: int | tuple[int, ...] | None = None
    ratio: int | None = None
    present: bool | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Every input width in the published models."""
        return self.width if isinstance(self.width, tuple) else () if self.width is None else (self.width,)


class ModelSpec(NamedTuple):
    """What headers after github.com/Stability-AI/ModelSpec say of a base.

    architectures: ids by variant, "" for the family where the variant is not told.
    implementation: the code whose names are the scheme "native".
    resolution: what it draws by default, as "1024x1024"; "" where that is not one size.
    """

    architectures: Mapping[str, str]
    implementation: str
    resolution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseModel:
    """A family of base models with one module layout at any width and depth.

    The names are frozen: a change of one is a new `version`, and manifests record "id@version". `claims`
    are how headers begin to call it (ss_base_model_version, modelspec.architecture), in lower case, the first one
    written: evidence where names and shapes leave a doubt, never against them. `spec` is for the headers lorry
    writes, and so are `marks`, entries that tools know the base by beside its name (ss_v2). `variants` are the
    published models of the family, each with the probes that tell it from the others; here a width is exact.
    `unused` are keys of single files, or the beginnings of some, that drawing does not need (constants of the
    noise schedule), so that leaving them out is no loss.
    `blocks` names groups of modules as people do ("IN04"): each is a list of beginnings of "component.module".
    `dialect` is what adapters for it are mostly published in, and what new ones are written in where none is asked for.
    `presets` names weights, in the grammar of core/lorry/ops/merging/selection.py.
    `hub` are the repositories on the Hugging Face Hub that cards of adapters name: by variant, "" for the family where
    the variant is not told; without "" an adapter that does not tell it names none.
    """

    id: str
    title: str
    components: tuple[Component, ...]
    probes: tuple[Probe, ...] = ()
    claims: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    dialect: str = ""
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    presets: Mapping[str, str] = field(default_factory=dict)
    hub: Mapping[str, str] = field(default_factory=dict)
    version: int = 1

    def component(self, name: str) -> Component | None:
        """Return the component of that name."""
        return next((each for each in self.components if each.name == name), None)
