"""What a base table says, with indices and sizes filled in: small weights for any base."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from lorry.ir import Adapter, ModulePath, TensorRef
from lorry.ops.bases.base import Base
from lorry.ops.reading.identify import target_shapes
from lorry.ops.reading.names import OWN
from lorry.plugin import BaseModel, Component, View
from lorry.plugin.host import host

_INDEX = re.compile(r"\{\w+\}")


def filled(template: str, numbers: Sequence[int] = (0,)) -> str:
    """Put numbers in the place of a template's indices: the same index takes the same number."""
    names = dict.fromkeys(_INDEX.findall(template))
    for name, number in zip(names, itertools.cycle(numbers), strict=False):
        template = template.replace(name, str(number))
    return template


def views(component: Component, scheme: str) -> tuple[View, ...]:
    """Return the views of a scheme; under our own names every module is one of its own."""
    if scheme == OWN:
        return tuple(View(template, (template,)) for template in component.modules)
    return tuple(component.schemes.get(scheme, ()))


def shape(model: BaseModel, component: Component, template: str, unit: int, width: int) -> tuple[int, ...]:
    """Return a weight shape that the base's own views and probes allow, at any width."""
    probes = [each for each in model.probes if each.component == component.name and template.endswith(each.module)]
    ratio = next((each.ratio for each in probes if each.ratio), None)
    rows = ratio * width if ratio else unit * _share(component, template)
    axes = [each.ndim for each in probes if each.ndim]
    if axes:
        return (rows, width, *(1 for _ in range(axes[0] - 2)))
    return (rows, width, 3, 3) if "conv" in template.rpartition(".")[2] else (rows, width)


def ruled_out(model: BaseModel, component: str, module: str) -> bool:
    """Tell whether the base's probes say that it has no such module, whatever its templates allow."""
    probes = [probe for probe in model.probes if probe.present is False and probe.component == component]
    return any(module.endswith(probe.module) for probe in probes)


def base_of(model: BaseModel, unit: int = 3, width: int = 5, dtype: torch.dtype = torch.float32) -> Base:
    """Return a base with every module the table has, indices 0 and 1, in memory."""
    return base_with(
        model.id,
        {
            ModulePath(component.name, filled(template, numbers)): shape(model, component, template, unit, width)
            for component in model.components
            for template in component.modules
            for numbers in itertools.product((0, 1), repeat=3)
        },
        dtype,
    )


def base_under(*adapters: Adapter, dtype: torch.dtype = torch.float32) -> Base:
    """Return a base of just the modules that some adapters change, in memory."""
    shapes = {path: size for each in adapters for path, size in target_shapes(each.layers, host()).items()}
    return base_with(adapters[0].base, shapes, dtype)


def base_with(model: str, shapes: Mapping[ModulePath, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> Base:
    """Return a base with random weights of these shapes, in memory."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{path}.weight": TensorRef.from_torch(torch.randn(size, generator=generator).to(dtype))
        for path, size in shapes.items()
    }
    return Base(id=model, path=Path(model), tensors=tensors, files={})


def _share(component: Component, template: str) -> int:
    """Return the rows of a module in units: its share of a fused module, times 2 for halves that change places."""
    shares = {1, *(share for share, _ in _found(component, template))}
    flips = any(view.flip for _, view in _found(component, template))
    return max(shares) * (2 if flips else 1)


def _found(component: Component, template: str) -> Iterator[tuple[int, View]]:
    for view in itertools.chain.from_iterable(component.schemes.values()):
        if template in view.parts and (len(view.parts) > 1 or view.flip):
            yield view.rows[view.parts.index(template)], view
