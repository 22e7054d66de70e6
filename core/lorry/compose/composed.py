"""Layers that are no up times down, as a computed weight: W' = W + Σ tᵢ (applyᵢ(W) - W)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lorry.compose.plan import Use
from lorry.errors import Incompatible
from lorry.ir.layer import Layer
from lorry.ir.tensor import from_bytes


class ComposedWeight:
    """A parameter computed from the pristine one, in float32, rounded once to its dtype.

    `original` is never written to; `replacement` keeps its identity when strengths change. The layers' tensors
    are held in memory, since strengths change long after the file was opened.
    """

    def __init__(self, original: nn.Parameter, uses: Sequence[Use]) -> None:
        self.original = original
        self.replacement = nn.Parameter(original.detach().clone(), requires_grad=False)
        self._uses = [use._replace(layer=_held(use.layer)) for use in uses]
        self._strengths = [0.0 for _ in uses]

    @torch.no_grad()
    def set(self, strengths: Sequence[float]) -> None:
        """Compute the weight for one strength an adapter; raise Incompatible where a kind changes its shape."""
        wanted = [strengths[use.adapter] for use in self._uses]
        if wanted == self._strengths:
            return
        total = self.original.detach().float().clone()
        for use, strength in zip(self._uses, wanted, strict=True):
            if strength != 0:
                total += strength * self._change(use)
        self.replacement.copy_(total)
        self._strengths = wanted

    @torch.no_grad()
    def gradient(self, adapters: int) -> Tensor:
        """Return the derivative of the loss by the strength of each of so many adapters, from that by the weight.

        ∂L/∂tᵢ = ⟨∂L/∂W', applyᵢ(W) - W⟩, in float64; zeros where nothing was propagated back to `replacement`.
        """
        found = torch.zeros(adapters, dtype=torch.float64)
        if self.replacement.grad is not None:
            by_weight = self.replacement.grad.double()
            for use in self._uses:
                found[use.adapter] += (by_weight * self._change(use)).sum().cpu()
        return found

    def _change(self, use: Use) -> Tensor:
        pristine = self.original.detach().float()
        changed = use.apply(pristine)
        if changed.shape != pristine.shape:
            raise Incompatible(f"{use} gives a weight of shape {list(changed.shape)}, not {list(pristine.shape)}")
        return changed - pristine


def _held(layer: Layer) -> Layer:
    slots = {name: from_bytes(ref.dtype, ref.shape, ref.tobytes()) for name, ref in layer.slots.items()}
    return replace(layer, slots=slots)
