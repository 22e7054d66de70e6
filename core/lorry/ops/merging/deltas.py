"""What adapters do to one parameter of one module: as factors where their kinds have them, else as a whole tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import Incompatible, InvalidFile
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ops.bases.base import Base
from lorry.ops.judging.finite import finite
from lorry.plugin.host import Host
from lorry.plugin.kind import Factors, Kind, fits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lorry.algebra.gram import Delta


class Parameter(NamedTuple):
    """A parameter of a module: "unet.mid_block….to_q" and "weight"."""

    path: ModulePath
    name: str

    def __str__(self) -> str:
        return f"{self.path}.{self.name}"


class Scaled(NamedTuple):
    """A delta in factors: scale · up · down."""

    scale: float
    factors: Factors

    def product(self) -> Factors:
        """Return the factors with the scale multiplied into up."""
        return Factors(self.factors.down, self.factors.up * self.scale) if self.scale != 1 else self.factors


class Deltas:
    """Computes deltas, with the weights of a base where kinds need them.

    Everything comes in float32 on `device`. Raises Incompatible for kinds that need a weight without a base, and
    InvalidFile for not-a-number and infinity.
    """

    def __init__(self, base: Base | None, plugins: Host, device: str | torch.device = "cpu") -> None:
        self.base, self.plugins, self.device = base, plugins, device

    def kind(self, layer: Layer) -> Kind:
        """Return the kind of a layer."""
        kind: Kind = self.plugins.get("kinds", layer.kind)
        return kind

    def have_factors(self, layers: Iterable[Layer]) -> bool:
        """Tell whether every layer has factors."""
        return all(self.kind(layer).factors for layer in layers)

    def factors(self, at: Parameter, layers: Sequence[Layer]) -> Scaled | None:
        """Return the sum of layers of one adapter in factors, those of several side by side; None for no layers."""
        import torch

        made = [self._scaled(at, layer) for layer in layers]
        if len(made) < 2:  # noqa: PLR2004  one keeps its scale apart, so that nothing is rounded
            return made[0] if made else None
        products = [each.product() for each in made]
        rows = {(each.up.shape[0], each.down.shape[1]) for each in products}
        if len(rows) > 1:
            raise Incompatible(f"{at}: layers of unequal shapes {sorted(rows)} cannot be added up")
        joined = Factors(torch.cat([each.down for each in products]), torch.cat([each.up for each in products], 1))
        return Scaled(1.0, joined)

    def whole(self, at: Parameter, layers: Sequence[Layer], shape: tuple[int, ...]) -> Tensor:
        """Return the sum of layers of one adapter as a tensor of the parameter's shape."""
        import torch

        total = torch.zeros(shape, device=self.device)
        for layer in layers:
            total += self._delta(at, layer, shape).reshape(shape)
        _check_finite(at, total)
        return total

    def delta(self, at: Parameter, layers: Sequence[Layer], shape: tuple[int, ...]) -> Delta:
        """Return the sum of layers of one adapter in factors, or as a matrix (out, in · kernel) where it has none.

        No layers are factors of rank 0.
        """
        import torch

        if not layers:
            columns = torch.Size(shape[1:]).numel()
            return Factors(torch.zeros(0, columns, device=self.device), torch.zeros(shape[0], 0, device=self.device))
        factors = self.factors(at, layers) if self.have_factors(layers) else None
        return factors.product() if factors else self.whole(at, layers, shape).reshape(shape[0], -1)

    def shape(self, at: Parameter, layers: Iterable[Layer]) -> tuple[int, ...]:
        """Return the shape of a parameter, from the base or as far as the layers tell.

        Raises Incompatible where they want unequal ones, or where none tells it and there is no base.
        """
        if self.base is not None and str(at) in self.base.tensors:
            return self.base.tensors[str(at)].shape
        wanted = []
        for layer in layers:
            target = self.kind(layer).target
            if target is None or layer.param != at.name:
                raise self._needs_base(at, layer)
            wanted.append(target(layer.slots))
        told = next((each for each in wanted if -1 not in each), None) or next(
            (each[:-1] for each in wanted if -1 not in each[:-1]), None
        )
        if told is None:
            raise self._needs_base(at, next(iter(layers)))
        odd = next((each for each in wanted if not fits(each, told)), None)
        if odd is not None:
            raise Incompatible(
                f"the adapters are for models of different sizes: {at} is {list(told)} in one "
                f"and {list(odd)} in another"
            )
        return told

    def check_possible(self, at: Parameter, layer: Layer) -> None:
        """Raise Incompatible where no tensor holds what a layer does, or where that needs a base there is not."""
        kind = self.kind(layer)
        if kind.timestep:
            raise Incompatible(f"what {kind.title} does at {at} depends on the timestep, and no weight can hold that")
        if kind.changes_shape:
            raise Incompatible(f"{kind.title} changes the shape of {at}, so that nothing can be added to what it does")
        if kind.needs_weight and (self.base is None or str(at) not in self.base.tensors):
            raise self._needs_base(at, layer)

    def check_finite(self, at: Parameter, layers: Iterable[Layer]) -> None:
        """Raise InvalidFile where a slot holds not-a-number or infinity."""
        for layer in layers:
            if not math.isfinite(layer.scale) or not all(map(finite, layer.slots.values())):
                raise _not_finite(at)

    def _scaled(self, at: Parameter, layer: Layer) -> Scaled:
        factors = self.kind(layer).factors
        if factors is None:
            raise Incompatible(f"{at}: layers of kind {layer.kind} have no factors")
        down, up = (each.to(self.device) for each in factors(layer))
        _check_finite(at, down, layer.scale)
        _check_finite(at, up)
        return Scaled(layer.scale, Factors(down, up))

    def _delta(self, at: Parameter, layer: Layer, shape: tuple[int, ...]) -> Tensor:
        import torch

        self.check_possible(at, layer)
        kind = self.kind(layer)
        if kind.factors is not None:
            down, up = self._scaled(at, layer).product()
            return up @ down
        if kind.apply is None:
            raise Incompatible(f"{at}: {kind.title} changes no weight")
        weight = torch.zeros(shape, device=self.device)
        if kind.needs_weight and self.base is not None:
            weight = self.base.tensors[str(at)].torch(self.device, torch.float32)
        return kind.apply(weight, layer) - weight

    def _needs_base(self, at: Parameter, layer: Layer) -> Incompatible:
        return Incompatible(f"what {layer.kind} does at {at} depends on the weight; say which base (base=)")


def by_parameter(adapter: Adapter) -> dict[Parameter, list[Layer]]:
    """Return the layers of an adapter by what they change."""
    found: dict[Parameter, list[Layer]] = {}
    for path, layers in adapter.layers.items():
        for layer in layers:
            found.setdefault(Parameter(path, layer.param), []).append(layer)
    return found


def biases(adapter: Adapter, base: Base | None, kinds: Mapping[str, Kind]) -> dict[Parameter, list[Layer]]:
    """Return the layers that multiply what a module puts out, by the bias in the base that they multiply too."""
    found: dict[Parameter, list[Layer]] = {}
    for path, layers in adapter.layers.items():
        bias = Parameter(path, "bias")
        for layer in layers:
            if base is not None and kinds[layer.kind].multiplies_output(layer) and str(bias) in base.tensors:
                found.setdefault(bias, []).append(layer)
    return found


def _check_finite(at: Parameter, numbers: Tensor, scale: float = 1.0) -> None:
    ends = numbers.aminmax() if numbers.numel() else ()  # NaN is its own smallest and largest number
    if not all(math.isfinite(end) for end in (*ends, scale)):
        raise _not_finite(at)


def _not_finite(at: Parameter) -> InvalidFile:
    return InvalidFile(f"{at} holds NaN or infinity, and nothing can be made of it; lorry validate tells which file")
