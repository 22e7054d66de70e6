"""The one form every format is read into and written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lorry.ir.frame import Frame
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.report import Report
from lorry.ir.tensor import TensorRef
from lorry.ir.token import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Layers and tokens for a base model; immutable, and lazy until somebody asks for numbers.

    `base` is the id of a base table ("sd1"). Several layers may sit on one module path. `metadata` is the
    header as it was read, in its order. Keys that mean nothing here are kept in `extras` and told in `report`.
    """

    base: str
    layers: Mapping[ModulePath, tuple[Layer, ...]] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, TensorRef] = field(default_factory=dict)
    origin: tuple[Frame, ...] = ()
    report: Report = field(default_factory=Report)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds present, sorted; learned tokens count as textual-inversion."""
        found = {layer.kind for layers in self.layers.values() for layer in layers}
        return tuple(sorted(found | ({"textual-inversion"} if self.tokens else set())))

    @property
    def components(self) -> tuple[str, ...]:
        """Components it touches, sorted."""
        touched = {path.component for path in self.layers}
        return tuple(sorted(touched | {part for token in self.tokens.values() for part in token.vectors}))
