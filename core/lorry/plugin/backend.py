"""A backend: what runs a base model with adapters attached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lorry.ir.adapter import Adapter

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One picture to draw; None leaves a value to the base's own default. Sizes are in pixels."""

    prompt: str
    negative: str = ""
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None


class Step(Protocol):
    """Called before each denoising step with its number, from 0, and the number of steps."""

    def __call__(self, number: int, total: int, /) -> None:
        """Take note of the step that is about to begin."""


class Model(Protocol):
    """A running base model with one owner."""

    base: str
    parts: Mapping[str, torch.nn.Module]

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Put adapters onto the pristine weights at the given strengths; all of them, or none and an error."""

    def strengths(self, values: Sequence[float]) -> None:
        """Change the strengths of the attached adapters, in their order, without rebuilding anything."""

    def detach(self) -> None:
        """Give back the very module objects and token tables there were before, and drop the rest."""

    def generate(self, request: Request, on_step: Step | None = None) -> Image:
        """Draw one picture; the same request gives the same picture."""
        ...

    def loss(self, pictures: Sequence[Image], prompts: Sequence[str], *, seed: int = 0) -> torch.Tensor:
        """Return how far the model is from denoising pictures of these prompts: one number, with a gradient."""
        ...

    def close(self) -> None:
        """Free the memory; the model cannot be used afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Runs the base models named in `bases` (ids of base tables).

    `load(path, device, dtype)` opens a base folder as a Model; device "auto" takes the GPU where there is
    one, dtype None the widest that the device is good at. `load` is "module:attribute", so that torch is
    imported when something runs and not before.
    """

    name: str
    title: str
    bases: tuple[str, ...]
    load: str


Load = Callable[[Path, str, str | None], Model]
"""What `Backend.load` names."""
