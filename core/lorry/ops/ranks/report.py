"""What became of every layer where ranks were cut: rank, kept energy, error, as rows and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lorry.ops.merging.deltas import Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCut:
    """One parameter: how its delta is held ("low rank", "tucker", "full"), its rank, and what that keeps.

    `largest` is the rank that would keep all. norm: ‖ΔW‖; error: ‖ΔW - what is held‖ / ‖ΔW‖; kept: the share of
    ‖ΔW‖² that is held. `values` are the singular values that are known, descending. Before any rounding to a dtype.
    """

    at: Parameter
    form: str
    rank: int
    largest: int
    norm: float
    error: float
    values: tuple[float, ...] = ()

    @property
    def kept(self) -> float:
        """Share of ‖ΔW‖² that is held."""
        return 1.0 - self.error**2


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReport:
    """All layers, and what was left out with the reason."""

    layers: tuple[LayerCut, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> float:
        """Share of the energy of all deltas that is held; 1 where there is none."""
        whole = math.fsum(each.norm**2 for each in self.layers)
        return math.fsum(each.kept * each.norm**2 for each in self.layers) / whole if whole else 1.0

    @property
    def error(self) -> float:
        """Largest relative error of a layer."""
        return max((each.error for each in self.layers), default=0.0)

    def rows(self) -> Iterable[tuple[str, str, str, str, str]]:
        """Yield error, kept energy, rank, form and name of each layer, those that lose most first."""
        for each in sorted(self.layers, key=lambda each: -each.error * each.norm):
            rank = f"{each.rank} of {each.largest}" if each.rank else ""
            yield f"{each.error:.3g}", f"{each.kept:.4%}", rank, each.form, str(each.at)

    def told(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "kept_energy": self.kept,
            "largest_error": self.error,
            "left_out": dict(self.left_out),
            "layers": [
                {"name": str(each.at), "kept_energy": each.kept}
                | {key: value for key, value in asdict(each).items() if key != "at"}
                for each in self.layers
            ],
        }
