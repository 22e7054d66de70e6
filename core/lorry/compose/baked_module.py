"""Adapters added to the weights of a live module, and taken out again by copying the originals back."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from lorry.compose.part import Part
from lorry.compose.plan import Use, plan_layers
from lorry.errors import Conflict, Incompatible, InvalidArgument
from lorry.ops.baking.bake import Weighted, check_understood, weighted
from lorry.ops.baking.change import Change
from lorry.plugin.base_model import BaseModel
from lorry.plugin.host import Host, host


def bake_module(
    module: nn.Module | Mapping[str, nn.Module],
    adapters: Sequence[Weighted],
    *,
    partial: bool = False,
    plugins: Host | None = None,
) -> BakedModule:
    """Add adapters to the weights of a live torch module, in place; the result takes them out again.

    `module` is the component that draws (a UNet, a transformer), or components by name. Parameters keep identity,
    dtype and device; a copy of every changed one is kept beside it. All of the adapters are added, or none and an
    error: Incompatible for another base, module or shape, and for learned tokens, which are no weights.
    """
    plugins, pairs = plugins or host(), weighted(adapters)
    if not pairs:
        raise InvalidArgument("there is no adapter to bake; give at least one")
    for adapter, _ in pairs:
        check_understood(adapter, partial=partial)
        if adapter.tokens:
            raise Incompatible(
                "learned tokens join a tokenizer, which a module has none of; bake the base's folder, or attach the "
                "adapter (lorry.run)"
            )
    bases = {adapter.base for adapter, _ in pairs}
    if len(bases) > 1:
        raise Incompatible(f"the adapters are made for different bases: {', '.join(sorted(bases))}")
    model: BaseModel = plugins.get("base_models", bases.pop())
    modules = {model.components[0].name: module} if isinstance(module, nn.Module) else module
    parts = {name: Part(each) for name, each in modules.items()}
    uses: dict[int, list[Use]] = {}
    for use in plan_layers([adapter for adapter, _ in pairs], parts, plugins):
        uses.setdefault(id(use.parameter), []).append(use)
    return BakedModule([_Weight(each, [strength for _, strength in pairs], plugins) for each in uses.values()])


class BakedModule:
    """A live module with adapters in its weights, until `undo`; a context manager undoes at its end."""

    def __init__(self, weights: Sequence[_Weight]) -> None:
        self._originals: list[tuple[nn.Parameter, Tensor]] = []
        try:
            with torch.no_grad():
                for weight in weights:
                    self._originals.append((weight.parameter, weight.parameter.detach().clone()))
                    weight.write()
        except BaseException:
            self._restore()
            raise
        for parameter, _ in self._originals:
            _BAKED.setdefault(parameter, []).append(self)

    def undo(self) -> None:
        """Copy the originals back; again, it does nothing.

        Raises Conflict where others were baked into one of the weights since: what came later is undone first.
        """
        if any(_BAKED[parameter][-1] is not self for parameter, _ in self._originals):
            raise Conflict("other adapters were baked into these weights since; undo those first")
        for parameter, _ in self._originals:
            _BAKED[parameter].pop()
        self._restore()

    def _restore(self) -> None:
        with torch.no_grad():
            for parameter, original in self._originals:
                parameter.copy_(original)
        self._originals = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


_BAKED: MutableMapping[nn.Parameter, list[BakedModule]] = WeakIdKeyDictionary()
"""What is in each weight, the last one last."""


class _Weight:
    """One parameter, and what changes it."""

    def __init__(self, uses: Sequence[Use], strengths: Sequence[float], plugins: Host) -> None:
        first = uses[0]
        self.parameter = first.parameter
        if not self.parameter.is_floating_point():
            raise Incompatible(f"{first} cannot be added to a weight of {self.parameter.dtype}; attach the adapter")
        layers = [(use.layer, strengths[use.adapter]) for use in uses]
        self._change = Change(f"{first.path}.{first.layer.param}", layers, plugins, str(self.parameter.device))

    def write(self) -> None:
        weight = self.parameter.detach()
        factors = self._change.factors()
        if factors is None or not weight.is_contiguous():
            weight.copy_(self._change.whole(weight, weight.dtype))
        else:
            rows = weight.view(len(weight), -1)
            self._change.add_rows(rows, rows, factors)
