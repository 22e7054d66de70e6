"""Which entries of a delta are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorry.plugin import Option

if TYPE_CHECKING:
    from torch import Tensor

SEED = Option("seed", 0, "start of the random numbers", low=0, high=2**63 - 1)


def density(default: float) -> Option:
    """Return the option that says what share of the entries is kept."""
    return Option("density", default, "share of the entries of every ΔWᵢ that is kept", low=0.01, high=1.0)


def largest(delta: Tensor, share: float) -> Tensor:
    """Return the delta with all but its `share` of largest entries set to 0; equal ones at the edge are all kept."""
    import torch

    return torch.where(delta.abs() >= smallest_of(delta, share), delta, 0.0)


def smallest_of(delta: Tensor, share: float) -> Tensor:
    """Return the smallest magnitude among the `share` of largest entries; infinity where the share is none."""
    import torch

    count = round(share * delta.numel())
    magnitudes = delta.abs().flatten()
    if not count:
        return magnitudes.new_tensor(torch.inf)
    return magnitudes.kthvalue(delta.numel() - count + 1).values
