"""Which layer of which adapter goes onto which module of a running model, checked before anything is touched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from lorry.compose.part import Part
from lorry.compose.stacked import stackable
from lorry.errors import Incompatible
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.plugin.host import Host
from lorry.plugin.kind import Factors, Kind, fits


class Use(NamedTuple):
    """One layer at its module; `adapter` is the adapter's place in the list, `title` its file's name."""

    adapter: int
    title: str
    path: ModulePath
    layer: Layer
    kind: Kind
    module: nn.Module

    def __str__(self) -> str:
        return f"{self.title}: its {self.layer.kind} layer at {self.path}"

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter it changes."""
        parameter: nn.Parameter = getattr(self.module, self.layer.param)
        return parameter

    @property
    def stacks(self) -> bool:
        """Whether it can run beside its module."""
        return self.kind.factors is not None and self.layer.param == "weight" and stackable(self.module)

    def factors(self) -> Factors:
        """Return down and up in float32, with the scale in up."""
        if self.kind.factors is None:
            raise Incompatible(f"{self} has no low-rank form")
        down, up = self.kind.factors(self.layer)
        out, *rest = weight_shape(self.module, "weight")
        if up.shape[0] != out or down.shape[1] != math.prod(rest):
            raise Incompatible(
                f"{self} is for a weight of shape {[up.shape[0], down.shape[1]]}, and this model's is {[out, *rest]}"
            )
        return Factors(down, up * self.layer.scale)

    def apply(self, weight: Tensor) -> Tensor:
        """Return the weight with the layer at full strength."""
        if self.kind.apply is None:
            raise Incompatible(f"{self} can only run beside a linear or convolution module without groups")
        return self.kind.apply(weight, self.layer)


def title_of(adapter: Adapter) -> str:
    """Name an adapter by its file, for messages."""
    paths = [path for frame in adapter.origin for path in frame.source.paths]
    return paths[0].name if paths else "an adapter"


def plan_layers(adapters: Sequence[Adapter], parts: Mapping[str, Part], plugins: Host) -> Iterator[Use]:
    """Yield every layer with its module.

    Raises Incompatible, naming adapter, module and shapes, for a component or module that the model does not
    have, a weight of another shape, and a kind that no running model can take.
    """
    for number, adapter in enumerate(adapters):
        title = title_of(adapter)
        for path, layers in adapter.layers.items():
            part = parts.get(path.component)
            if part is None:
                raise Incompatible(
                    f"{title} changes {path.component}, and this model has only {', '.join(sorted(parts))}"
                )
            module = part.find(path.name)
            if module is None:
                raise Incompatible(f"{title} changes {path}, and this model has no such module: another size of model?")
            for layer in layers:
                use = Use(number, title, path, layer, plugins.get("kinds", layer.kind), module)
                _check(use)
                yield use
                if use.kind.multiplies_output(layer) and isinstance(getattr(module, "bias", None), nn.Parameter):
                    yield use._replace(layer=replace(layer, param="bias"))


def weight_shape(module: nn.Module, param: str) -> tuple[int, ...]:
    """Return a parameter's shape as the module means it; a quantised linear stores another."""
    if param == "weight" and isinstance(module, nn.Linear):
        return (module.out_features, module.in_features)
    return tuple(getattr(module, param).shape)


def _check(use: Use) -> None:
    if use.kind.changes_shape:
        raise Incompatible(
            f"{use} changes the shape of the weight, which no running model here can take; leave this adapter out"
        )
    if use.kind.timestep:
        raise Incompatible(f"{use} depends on the timestep, which this backend does not tell its layers")
    if not isinstance(getattr(use.module, use.layer.param, None), nn.Parameter):
        raise Incompatible(f"{use} changes {use.layer.param}, and this model's module has none")
    if use.kind.target is None or use.layer.param != "weight":
        return
    wanted, found = use.kind.target(use.layer.slots), weight_shape(use.module, "weight")
    if not fits(wanted, found):
        raise Incompatible(f"{use} is for a weight of shape {list(wanted)}, and this model's is {list(found)}")
