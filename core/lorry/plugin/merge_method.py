"""A merge method: several adapters become one, one parameter of one module at a time.

Core pairs the layers, resolves weights and shapes, reads the base where a kind needs it, and stores what comes
out; a method is the arithmetic alone. A whole one:

    def average(terms, site):
        return sum(term.weight * term.delta for term in terms) / len(terms)

    MergeMethod(name="average", title="mean", formula="ΔW = Σ wᵢ·ΔWᵢ / n", source="…", dense=average)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lorry.ir.module_path import ModulePath
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    import torch

Value = float | int | str
"""What an option may be set to."""


class Option(NamedTuple):
    """A setting of a method: its value has the type of `default`, lies from `low` to `high`, or is one of `choices`.

    `default` None is a number that the method chooses by itself where none is given.
    """

    name: str
    default: Value | None
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


class FactoredTerm(NamedTuple):
    """What one adapter does to a parameter: weight · scale · up · down, with up (out, r) and down (r, in·kernel).

    float32. An adapter that does nothing here has rank 0.
    """

    weight: float
    scale: float
    up: torch.Tensor
    down: torch.Tensor


class DenseTerm(NamedTuple):
    """What one adapter does to a parameter: weight · delta, float32, in the parameter's shape.

    An adapter that does nothing here has zeros. The tensor may be a view that must not be written to.
    """

    weight: float
    delta: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a method is at work, and the values of its options, all checked."""

    path: ModulePath
    param: str
    shape: tuple[int, ...]
    options: Mapping[str, Any]

    def generator(self, position: int) -> torch.Generator:
        """Return a source of random numbers for the adapter at `position`, from the option `seed`.

        They depend on the module, and neither on the machine nor on the order in which modules are computed.
        """
        import torch

        told = f"{self.options['seed']}\0{self.path}\0{self.param}\0{position}"
        number = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "little", signed=True)
        return torch.Generator().manual_seed(number)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergeMethod:
    """A way to merge, with the formula it computes and where that comes from.

    factored(terms, site) -> Factors: the merged delta as up (out, r) · down (r, in·kernel), float32, scale 1; never
        builds it. Used where every adapter's change has factors.
    dense(terms, site) -> Tensor: the merged delta in the parameter's shape. Used where `factored` is not, and by
        core again whenever the result is read, so that it must give the same numbers each time.
    linear: it is Σ wᵢ·ΔWᵢ, so that the layers of an adapter that is alone at a parameter are kept as they are.
    cut: the result is cut to the largest rank of the adapters where no rank is asked for.
    count: how many adapters it takes; None for any number.

    Terms come in the order of the adapters, one for each. A method has `factored`, `dense` or both.
    """

    name: str
    title: str
    formula: str
    source: str
    factored: Callable[[Sequence[FactoredTerm], Site], Factors] | None = None
    dense: Callable[[Sequence[DenseTerm], Site], torch.Tensor] | None = None
    options: tuple[Option, ...] = ()
    linear: bool = False
    cut: bool = False
    count: int | None = None
