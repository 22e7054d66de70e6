"""What one adapter does to one parameter of one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lorry.ir.tensor import TensorRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Slots (down, up, mid …) that a kind gives their meaning, with the scale resolved at read time.

    `scale` is the only truth about strength in the file: alpha/rank, alpha/√rank and header rules all
    end here; alpha as it was stored stays in the frame.
    """

    kind: str
    slots: Mapping[str, TensorRef]
    scale: float = 1.0
    param: str = "weight"
    options: Mapping[str, Any] = field(default_factory=dict)

    def at(self, scale: float) -> Layer:
        """Return the same layer at another scale."""
        return Layer(kind=self.kind, slots=self.slots, scale=scale, param=self.param, options=self.options)
