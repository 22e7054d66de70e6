"""A dialect: how a tool names the modules and slots of an adapter, and where it keeps the scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor_map import TensorMap


class NamedLayer(NamedTuple):
    """A layer on its way to a file: the prefix and module name it goes by there, and its rank."""

    prefix: str
    module: str
    path: ModulePath
    layer: Layer
    rank: int


class HeaderFields(NamedTuple):
    """What a header rule adds beside the tensors."""

    metadata: Mapping[str, str]
    sides: Mapping[str, bytes]


class Scale(Protocol):
    """The scale of one module, looked up by prefix, module name in the file, and rank; None: not told."""

    def __call__(self, prefix: str, module: str, rank: int) -> float | None:
        """Return the scale, or None where nothing tells it."""


class Header(NamedTuple):
    """A rule for a scale kept outside the tensors.

    `read` returns the lookup, or None where the source carries no such header; it raises InvalidFile for
    one that is broken. `write` records the scale of every layer. `metadata` and `sides` name the header
    entries and side files that are this rule's own. `silence` says what a source without them cannot tell.
    """

    read: Callable[[TensorMap], Scale | None]
    write: Callable[[Sequence[NamedLayer]], HeaderFields]
    silence: str
    metadata: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()


class Renaming(NamedTuple):
    """For keys that no template spells: positions in a list, or the name of an adapter inside the key.

    `read` returns the key as the dialect's templates spell it, by the key in the source; keys it leaves out keep
    their own. `write` takes the tensors under spelled keys with the header; it returns them as they stand in the file,
    and the layers that cannot stand there with the reason.
    """

    read: Callable[[TensorMap], Mapping[str, str]]
    write: Callable[[TensorMap], tuple[TensorMap, Mapping[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """One tool's way of naming: key = lead + prefix + separator + module name + "." + suffix.

    naming: the family that base tables declare prefixes and schemes under; "" for tools that write module
        names with no prefix.
    separator: what stands between the parts of a module name, "." or "_".
    spellings: families of kind spellings it speaks; the first one that spells a kind is written.
    lookups: the one of these families that is written for modules that look rows up by number (nn.Embedding), and for
        no others; "" where they are spelled as all modules are.
    tokens: token layouts it speaks; the first one is written.
    header: where the scale is kept when it is not an alpha tensor.
    containers: which containers it comes in; the first is written by default.
    refuse: says why a source cannot be this dialect, before any key is looked at; None where it may be.
    metadata: header entries that every file of this dialect carries.
    facts: what a source says of all its layers beside their scale, for the spellings of kinds to understand.
    renaming: for keys that are no templates.
    companions: families of names of the files (or folders with a side file) that one adapter may come in, beside one
        another; {} stands for the same text in all names of a family.
    doubts: what a source of this dialect cannot tell, as (what, why and how it is read), where a header does not say.
    unreadable: why lorry reads no such file; what `refuse` accepts is then named and refused, and never written.
    """

    name: str
    title: str
    containers: tuple[str, ...] = ("safetensors",)
    naming: str = ""
    lead: str = ""
    separator: str = "."
    spellings: tuple[str, ...] = ()
    lookups: str = ""
    tokens: tuple[str, ...] = ()
    header: Header | None = None
    refuse: Callable[[TensorMap], str | None] = field(default=lambda _: None)
    metadata: Mapping[str, str] = field(default_factory=dict)
    facts: Callable[[TensorMap], Mapping[str, Any]] = field(default=lambda _: {})
    renaming: Renaming | None = None
    companions: tuple[tuple[str, ...], ...] = ()
    doubts: Callable[[TensorMap], Iterable[tuple[str, str]]] = field(default=lambda _: ())
    unreadable: str = ""
