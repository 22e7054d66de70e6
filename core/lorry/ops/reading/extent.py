"""Layers that claim weights larger than any model has: refused while they are still a few numbers in a header.

A file of megabytes can describe a delta of terabytes (a LoRA of rank 1, a Kronecker product, a Tucker core), and
whatever multiplies its factors out would try to hold that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from lorry.errors import InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.plugin.host import Host

LARGEST_WEIGHT = 1 << 29
"""Numbers in a weight: half as many again as in FLUX.2's widest one (6,144 by 55,296). In F32 they take 2 GiB."""

LARGEST_MODEL = 1 << 36
"""Numbers in all weights that an adapter changes: twice those of FLUX.2, the largest one."""

_MATRIX = 2


def check_extent(layers: Mapping[ModulePath, Iterable[Layer]], plugins: Host) -> None:
    """Raise InvalidFile where the deltas, or what stands between their factors, would be larger than any model."""
    kinds = plugins.kinds()
    total = 0
    for path, stack in layers.items():
        for layer in stack:
            target = kinds[layer.kind].target
            shape = target(layer.slots) if target and layer.param == "weight" else ()
            size = prod(abs(each) for each in shape)  # -1: not told
            if max(size, _between(layer)) > LARGEST_WEIGHT:
                raise InvalidFile(
                    f"its layer at {path} is for a weight of {max(size, _between(layer)):,} numbers, more than any "
                    f"model has"
                )
            total += size
    if total > LARGEST_MODEL:
        raise InvalidFile(f"its layers are for weights of {total:,} numbers together, more than any model has")


def _between(layer: Layer) -> int:
    """Return the most numbers that a product with a Tucker core may have: the widest axes of all, and the kernel."""
    refs = layer.slots.values()
    if all(len(ref.shape) <= _MATRIX for ref in refs):
        return 0
    widest = sorted((size for ref in refs for size in ref.shape[:2]), reverse=True)[:2]
    return prod(widest) * max((prod(ref.shape[2:]) for ref in refs), default=1)
