"""Where adapters meet: how large each one's change is at every module, and how much they say the same or the contrary.

For two changes at one parameter, the cosine tells whether they add to one another (1), leave one another alone (0) or
cancel out (-1). The overlaps tell how much of what they read from (inputs) and write to (outputs) they share, whatever
they do there: adapters with low overlap can be used together without harm, those with high overlap and a low cosine
disturb one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import require_torch
from lorry.ops.baking.bake import Weighted, weighted
from lorry.ops.bases.base import Base
from lorry.ops.merging.deltas import Deltas, Parameter, by_parameter
from lorry.ops.merging.selection import Selection, read_selections
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from torch import Tensor

    from lorry.algebra.gram import Delta


class Pair(NamedTuple):
    """Two adapters, by their positions, at one parameter.

    `reads` and `writes` are the mean cos² of the principal angles between the subspaces of inputs and of outputs, from
    0 to 1; None where a change has no factors, and so no subspace short of everything.
    """

    first: int
    second: int
    cosine: float
    reads: float | None
    writes: float | None


class Meeting(NamedTuple):
    """All adapters at one parameter: ‖wᵢ·ΔWᵢ‖ of each, 0 where it does nothing, and every pair that meets here.

    `together` is ‖Σ wᵢ·ΔWᵢ‖ over √Σ‖wᵢ·ΔWᵢ‖²: 1 where they leave one another alone, less where they cancel out.
    """

    path: ModulePath
    param: str
    norms: tuple[float, ...]
    pairs: tuple[Pair, ...]
    together: float


class Interference(NamedTuple):
    """Every parameter that any adapter changes, and the cosines between the adapters as wholes."""

    meetings: tuple[Meeting, ...]
    cosines: tuple[tuple[float, ...], ...]


def interference(
    adapters: Sequence[Weighted],
    *,
    weights: Sequence[str | Selection] = (),
    base: Base | None = None,
    plugins: Host | None = None,
) -> Interference:
    """Compare any number of adapters of one base, at their weights; kinds that need the weight ask for `base`.

    Raises Incompatible for adapters of different bases or sizes, InvalidArgument for fewer than two.
    """
    require_torch("comparing adapters")
    import torch

    from lorry.algebra.gram import cosines, gram

    plugins, pairs = plugins or host(), weighted(adapters)
    if len(pairs) < 2:  # noqa: PLR2004  there is nothing to compare one with
        raise InvalidArgument("give two adapters or more; one alone meets nothing")
    bases = sorted({adapter.base for adapter, _ in pairs})
    if len(bases) > 1:
        raise Incompatible(f"the adapters are for different bases: {', '.join(bases)}; there is nothing to compare")
    selections = read_selections(weights, [adapter for adapter, _ in pairs], plugins)
    found = [by_parameter(adapter) for adapter, _ in pairs]
    deltas, meetings = Deltas(base, plugins), []
    total = torch.zeros(len(pairs), len(pairs), dtype=torch.float64)
    for at in dict.fromkeys(at for each in found for at in each):
        strengths = [own * each.weight(at.path) for (_, own), each in zip(pairs, selections, strict=True)]
        own = [each.get(at, []) if strength else [] for each, strength in zip(found, strengths, strict=True)]
        if not any(own):
            continue
        shape = deltas.shape(at, [layer for layers in own for layer in layers])
        made = [deltas.delta(at, layers, shape) for layers in own]
        scale = torch.tensor(strengths, dtype=torch.float64)
        products = gram(made) * scale[:, None] * scale
        present = {n: each for n, (each, layers) in enumerate(zip(made, own, strict=True)) if layers}
        total += products
        meetings.append(_meeting(at, present, products))
    return Interference(tuple(meetings), tuple(tuple(map(float, row)) for row in cosines(total)))


def _meeting(at: Parameter, present: Mapping[int, Delta], products: Tensor) -> Meeting:
    from lorry.algebra.gram import cosines, overlap, subspaces
    from lorry.plugin.kind import Factors

    angles = cosines(products)
    norms = products.diagonal().clamp(min=0).sqrt()
    several = len(present) > 1
    bases = {n: subspaces(each) for n, each in present.items() if several and isinstance(each, Factors)}
    pairs = []
    for first, second in itertools.combinations(present, 2):
        reads = writes = None
        if first in bases and second in bases:
            (writes_a, reads_a), (writes_b, reads_b) = bases[first], bases[second]
            reads, writes = overlap(reads_a, reads_b), overlap(writes_a, writes_b)
        pairs.append(Pair(first, second, float(angles[first, second]), reads, writes))
    apart = float(norms.norm())
    together = float(products.sum().clamp(min=0).sqrt()) / apart if apart else 1.0
    return Meeting(at.path, at.name, tuple(map(float, norms)), tuple(pairs), together)
