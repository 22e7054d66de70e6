"""Learned weights: the wᵢ with which adapters come closest to a target.

Least squares: Σ wᵢ·ΔWᵢ ≈ T has the normal equations (G + λ·diag G)·w = b with Gᵢⱼ = ⟨ΔWᵢ, ΔWⱼ⟩ and bᵢ = ⟨ΔWᵢ, T⟩
(Lawson and Hanson, Solving Least Squares Problems, 1974), whose sides are small and come from the factors alone. With
activations X of a module, (samples, in · kernel), what is brought together is what the module puts out, ΔWᵢ·Xᵀ: the
same equations with Dᵢ·Xᵀ in the place of Dᵢ (the gradient fusion of Gu et al., Mix-of-Show, arXiv:2305.18292, for
weights instead of whole matrices).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lorry.algebra.gram import gram
from lorry.compose.module_weights import ModuleWeights
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ir.module_path import ModulePath
from lorry.ops.bases.base import Base
from lorry.ops.merging.deltas import Deltas, Parameter, by_parameter
from lorry.plugin.host import Host, host
from lorry.plugin.kind import Factors

if TYPE_CHECKING:
    from lorry.algebra.gram import Delta


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution(ModuleWeights):
    """Learned weights and how close they come.

    errors: ‖Σ wᵢ·ΔWᵢ - T‖ / ‖T‖ by module, on the activations where there were any; 0 where T is nothing and so is
    the sum. error: the same over all modules.
    """

    errors: Mapping[ModulePath, float]
    error: float


class _Equations(NamedTuple):
    """The Gram matrix of all adapters and, last, the target, at one module; float64."""

    products: Tensor

    def weights(self, ridge: float) -> Tensor:
        """Solve; among equal solutions the smallest one, so that an adapter given twice shares its weight."""
        left, right = self.products[:-1, :-1], self.products[:-1, -1]
        left = left + ridge * torch.diag(left.diagonal())
        solved: Tensor = torch.linalg.pinv(left, hermitian=True, rtol=1e-10) @ right
        return solved

    def residual(self, weights: Tensor) -> float:
        """Return ‖Σ wᵢ·ΔWᵢ - T‖², which rounding keeps from being negative."""
        vector = torch.cat([weights, weights.new_tensor([-1.0])])
        return max(float(vector @ self.products @ vector), 0.0)


def solve(  # noqa: PLR0913  every option is a keyword with a default
    adapters: Sequence[Adapter],
    target: Adapter,
    *,
    by_layer: bool = False,
    activations: Mapping[ModulePath, Tensor] | None = None,
    ridge: float = 0.0,
    base: Base | None = None,
    plugins: Host | None = None,
) -> Solution:
    """Find the weights with which adapters come closest to what a target adapter does.

    by_layer: one weight for each adapter and module, instead of one for each adapter.
    activations: inputs of modules, (samples, in · kernel); then modules without any are left out.
    ridge: λ ≥ 0, which holds weights back where adapters resemble one another.
    base: for kinds whose change depends on the weight.

    Raises InvalidArgument for no adapters, a bad ridge or activations of another width, Incompatible for adapters of
    different bases or sizes.
    """
    if not adapters or not ridge >= 0:
        raise InvalidArgument(
            f"{len(adapters)} adapters, ridge {ridge}: give one adapter or more, and no negative ridge"
        )
    bases = sorted({each.base for each in (*adapters, target)})
    if len(bases) > 1:
        raise Incompatible(f"the adapters are for different bases: {', '.join(bases)}; solve among those of one base")
    found = _equations([*adapters, target], Deltas(base, plugins or host()), activations)
    if not found:
        raise Incompatible("the adapters and the target have no module in common with the activations")
    whole = _Equations(sum((each.products for each in found.values()), torch.zeros(())))
    shared = whole.weights(ridge)
    solved = {path: each.weights(ridge) if by_layer else shared for path, each in found.items()}
    residuals = {path: each.residual(solved[path]) for path, each in found.items()}
    return Solution(
        weights=tuple({path: float(each[at]) for path, each in solved.items()} for at in range(len(adapters))),
        errors={path: _relative(residuals[path], each) for path, each in found.items()},
        error=_relative(sum(residuals.values()), whole),
    )


def _equations(
    adapters: Sequence[Adapter], deltas: Deltas, activations: Mapping[ModulePath, Tensor] | None
) -> dict[ModulePath, _Equations]:
    found: dict[ModulePath, _Equations] = {}
    layers = [by_parameter(adapter) for adapter in adapters]
    for at in dict.fromkeys(at for each in layers for at in each):
        inputs = None
        if activations is not None:
            if at.path not in activations or at.name != "weight":
                continue
            inputs = activations[at.path]
        shape = deltas.shape(at, [layer for each in layers for layer in each.get(at, [])])
        products = gram([_on(at, deltas.delta(at, each.get(at, []), shape), inputs) for each in layers])
        found[at.path] = _Equations(products + found[at.path].products if at.path in found else products)
    return found


def _on(at: Parameter, delta: Delta, inputs: Tensor | None) -> Delta:
    """Return what a delta makes of inputs; itself where there are none."""
    if inputs is None:
        return delta
    columns = delta.down.shape[1] if isinstance(delta, Factors) else delta.shape[1]
    if inputs.ndim != 2 or inputs.shape[1] != columns:  # noqa: PLR2004  samples and inputs
        raise InvalidArgument(f"{at}: activations of shape {list(inputs.shape)} are not (samples, {columns})")
    wide = inputs.double().mT
    if isinstance(delta, Factors):
        return Factors(delta.down.double() @ wide, delta.up)
    return delta.double() @ wide


def _relative(residual: float, equations: _Equations) -> float:
    size = float(equations.products[-1, -1])
    return (residual / size) ** 0.5 if size else float(residual > 0)
