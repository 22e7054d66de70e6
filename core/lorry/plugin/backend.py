"""A backend: what runs a base model with adapters attached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

    def __call__(self, number: int, total: int) -> None: ...


class Model(Protocol):
    """A running base model with one owner.

    `attach` stacks adapters, in order, onto the pristine weights at the given strengths; `strengths`
    changes them without rebuilding anything; `detach` gives back the very module objects and token tables
    there were, and drops the rest. `close` frees the memory.
    """

    base: str
    parts: Mapping[str, torch.nn.Module]

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> None: ...
    def strengths(self, values: Sequence[float]) -> None: ...
    def detach(self) -> None: ...
    def generate(self, request: Request, on_step: Step | None = None) -> Image: ...
    def close(self) -> None: ...


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
    defaults: Mapping[str, float] = field(default_factory=dict)


Load = Callable[[Path, str, str | None], Model]
"""What `Backend.load` names."""
