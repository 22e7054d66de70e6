"""Learned weights by gradient: the strengths, module by module, with which a running model's loss is smallest.

Strength is linear for every kind, W' = W + Σ tᵢ·ΔWᵢ, so that the derivatives are exact: those of stacked layers come
from the strengths of their rows, those of composed weights are ∂L/∂tᵢ = ⟨∂L/∂W', ΔWᵢ⟩. Steps are those of Adam
(Kingma and Ba, arXiv:1412.6980).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lorry.compose.attachment import Attachment
from lorry.compose.module_weights import ModuleWeights
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ir.adapter import Adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned(ModuleWeights):
    """Learned weights, and the loss before each step."""

    losses: tuple[float, ...]


def learn(  # noqa: PLR0913  every option is a keyword with a default
    model: PipelineModel,
    adapters: Sequence[tuple[Adapter, float]],
    loss: Callable[[int], Tensor],
    *,
    by_layer: bool = True,
    steps: int = 100,
    rate: float = 0.02,
) -> Learned:
    """Find the weights with which the loss of a model with these adapters is smallest, beginning with their strengths.

    `loss(step)` runs the model and returns a number to make smaller: `model.loss(pictures, prompts, seed=step)`, say.
    by_layer: one weight for each adapter and module, instead of one for each adapter.
    rate: how far a weight moves in a step.

    The model's own numbers never change; afterwards it is as it was, with nothing attached. Raises InvalidArgument for
    steps or a rate that make no sense, a loss that depends on no weight, and one that is no finite number.
    """
    if steps < 1 or not 0 < rate < math.inf:
        raise InvalidArgument(f"{steps} steps at a rate of {rate} learn nothing; give 1 or more, and a rate above 0")
    losses = []
    with _frozen(model), _attached(model, adapters) as attachment:
        dials = _Dials(attachment, [strength for _, strength in adapters], by_layer=by_layer)
        optimizer = torch.optim.Adam([dials.leaf], lr=rate)
        for step in range(steps):
            optimizer.zero_grad()
            dials.set()
            found = loss(step)
            losses.append(float(found.detach()))
            if not math.isfinite(losses[-1]):
                raise InvalidArgument(f"the loss is {losses[-1]} at step {step}; give a smaller rate than {rate}")
            dials.follow(found)
            optimizer.step()
        weights = dials.weights().tolist()
    touched = [set(adapter.layers) for adapter, _ in adapters]
    return Learned(
        weights=tuple(
            {path: row[at] for path, row in zip(dials.paths, weights, strict=True) if path in touched[at]}
            for at in range(len(adapters))
        ),
        losses=tuple(losses),
    )


class _Dials:
    """A strength for each module (or for all) and adapter, as a tensor that gradients flow back to."""

    def __init__(self, attachment: Attachment, start: Sequence[float], *, by_layer: bool) -> None:
        self._attachment = attachment
        held = [*(each.path for each in attachment.stacked), *(path for path, _ in attachment.composed)]
        self.paths = list(dict.fromkeys(held))
        self._rows = {path: row for row, path in enumerate(self.paths)}
        rows = len(self.paths) if by_layer else 1
        self.leaf = torch.tensor([start] * rows, dtype=torch.float64, requires_grad=True)

    def weights(self) -> Tensor:
        """Return (modules, adapters), the same row for every module where there is only one."""
        return self.leaf.expand(len(self.paths), -1)

    def set(self) -> None:
        """Put the strengths on the model."""
        weights = self.weights()
        for path, module, owners in self._attachment.stacked:
            rows = weights[self._rows[path]][owners].to(module.strengths)
            module.strengths = rows.view(module.strengths.shape)
        for path, composed in self._attachment.composed:
            composed.set(weights[self._rows[path]].tolist())
            composed.replacement.grad = None
            composed.replacement.requires_grad = True

    def follow(self, loss: Tensor) -> None:
        """Propagate the loss back to the strengths."""
        if not loss.requires_grad:
            raise InvalidArgument("the loss depends on no weight of the adapters; does it run the model's parts?")
        loss.backward()
        composed = [(path, weight.gradient(self.leaf.shape[1])) for path, weight in self._attachment.composed]
        if self.leaf.grad is None:
            self.leaf.grad = torch.zeros_like(self.leaf)
        for path, gradient in composed:
            self.leaf.grad[self._rows[path] if len(self.leaf) > 1 else 0] += gradient


@contextmanager
def _attached(model: PipelineModel, adapters: Sequence[tuple[Adapter, float]]) -> Iterator[Attachment]:
    model.attach(adapters)
    try:
        assert model.attachment is not None  # noqa: S101  just made
        yield model.attachment
    finally:
        model.detach()


@contextmanager
def _frozen(model: PipelineModel) -> Iterator[None]:
    """Keep gradients from the model's own numbers, which would take as much memory again."""
    wanted = [each for part in model.parts.values() for each in part.parameters() if each.requires_grad]
    for each in wanted:
        each.requires_grad = False
    try:
        yield
    finally:
        for each in wanted:
            each.requires_grad = True
