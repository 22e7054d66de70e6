"""Low-rank layers run beside their module: all adapters of a module stacked, all strengths in one tensor.

    y = base(x) + up · (s ∘ down(x))          down: R x in (· kernel), up: out x R, s: one strength a row of down

Adding on activations leaves the base weights as they are, quantised ones too. Changing strengths is one copy
into `Strengths.values`, of which every module holds a view: nothing is rebuilt, and a compiled model is not
compiled again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from lorry.plugin.kind import Factors

Stackable = nn.Linear | nn.Conv2d


def stackable(module: nn.Module) -> TypeGuard[Stackable]:
    """Tell whether low-rank layers can run beside this module; a grouped convolution has no such form."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


class Strengths:
    """The strengths of all adapters on all stacked rows, as one tensor.

    `owners` (int64, one element a row) names the adapter each row belongs to.
    """

    def __init__(self, owners: Tensor, device: torch.device, dtype: torch.dtype) -> None:
        self._owners = owners
        self.values = torch.zeros(len(owners), device=device, dtype=dtype)

    def set(self, strengths: Sequence[float]) -> None:
        """Write one strength an adapter."""
        self.values.copy_(torch.tensor(strengths, dtype=self.values.dtype)[self._owners])


class StackedLora(nn.Module):
    """A linear or convolution module with low-rank layers beside it.

    factors: in float32, their scale multiplied in; down (r, in · kernel) and up (out, r) are rounded once to the
        dtype of the base's weight.
    strengths: view of `Strengths.values`, one element a row of all the downs put end to end.
    """

    def __init__(self, base: Stackable, factors: Sequence[Factors], strengths: Tensor) -> None:
        super().__init__()
        rows = len(strengths)
        place: dict[str, Any] = {"bias": False, "device": "meta"}  # no memory, and no draw from the global generator
        self.base = base
        self.down: Stackable
        self.up: Stackable
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rows, **place)
            self.up = nn.Linear(rows, base.out_features, **place)
            self.strengths = strengths
        else:
            self.down = nn.Conv2d(
                base.in_channels, rows, _pair(base.kernel_size), _pair(base.stride),
                base.padding if isinstance(base.padding, str) else _pair(base.padding),
                _pair(base.dilation), padding_mode=base.padding_mode, **place,
            )  # fmt: skip
            self.up = nn.Conv2d(rows, base.out_channels, 1, **place)
            self.strengths = strengths.view(rows, 1, 1)
        for module, stacked in (
            (self.down, torch.cat([down for down, _ in factors])),
            (self.up, torch.cat([up for _, up in factors], dim=1)),
        ):
            value = stacked.reshape(module.weight.shape).to(base.weight.device, base.weight.dtype)
            module.weight = nn.Parameter(value, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The base's weight: models ask their modules for its dtype."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return base(x) plus what the layers add to it."""
        low: Tensor = self.down(x)
        added: Tensor = self.base(x) + self.up(low * self.strengths.to(low))
        return added


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    first, second = value
    return first, second
