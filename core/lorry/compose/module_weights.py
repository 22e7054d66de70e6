"""Weights of adapters, module by module: what learning them gives, and merging takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lorry.ir.module_path import ModulePath
from lorry.ops.merging.selection import Selection, by_module


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleWeights:
    """The weight of each adapter on every module; as selections they are what `lorry.merge(weights=)` takes."""

    weights: tuple[Mapping[ModulePath, float], ...]

    @property
    def selections(self) -> tuple[Selection, ...]:
        """Return the weights as selections, one for each adapter."""
        return tuple(by_module(each) for each in self.weights)
