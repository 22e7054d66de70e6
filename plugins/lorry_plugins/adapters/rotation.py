"""Orthogonal matrices from skew ones, as OFT and BOFT learn them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def skew(blocks: Tensor) -> Tensor:
    """Return X - Xᵀ of every block (…, b, b)."""
    return blocks - blocks.mT


def clipped(generators: Tensor, limit: float) -> Tensor:
    """Scale all generators together so that their norm is at most `limit`; 0 sets no limit."""
    norm = float(generators.norm())
    return generators * (limit / norm) if 0 < limit < norm else generators


def cayley(generators: Tensor) -> Tensor:
    """Return (I + Q)(I - Q)⁻¹ of every skew block; orthogonal. Source: Qiu et al., OFT (arXiv:2306.07280)."""
    import torch

    identity = torch.eye(generators.shape[-1], device=generators.device)
    rotations: Tensor = torch.linalg.solve(identity - generators, identity + generators, left=False)
    return rotations
