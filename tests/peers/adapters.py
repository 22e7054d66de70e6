"""Adapters that change every module of a real base, or the ones that a pattern names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lorry.ir import Adapter, Layer, TensorRef
from lorry.ops.bases.base import Base
from lorry.ops.reading.grammar import compiled
from lorry.plugin.host import host
from tests.support.kinds import Random

RANK = 2

_TABLES = "_embedding$|^shared$|_attention_bias$"


def adapter(base: Base, dialect: str, kind: str, scales: Sequence[float] = (1.0,), modules: str = "") -> Adapter:
    """Make layers of one kind for the linear and convolutional modules that a dialect can name.

    The scales are given out in turn. `modules` is searched for in each path; embeddings are left out where the dialect
    does not spell them apart, since no peer that speaks it adapts them.
    """
    spoken = compiled(host().dialects()[dialect], host().base_models()[base.id], tuple(host().kinds().values()))
    random = Random()
    chosen = [
        (path, shape)
        for path, shape in base.shapes.items()
        if len(shape) in (2, 4) and re.search(modules, str(path))
        if spoken.dialect.lookups or not re.search(_TABLES, path.name)
        for naming in [spoken.naming(path.component)]
        if naming and spoken.covering(path.component, naming.schemes[0], path.name)
    ]
    return Adapter(
        base=base.id,
        layers={
            path: (layer(random, kind, shape, scales[at % len(scales)]),) for at, (path, shape) in enumerate(chosen)
        },
    )


def layer(random: Random, kind: str, shape: Sequence[int], scale: float) -> Layer:
    """Make a LoRA or DoRA layer for a weight of this shape, or a LoKr one of full matrices."""
    slots: dict[str, TensorRef] = {}
    if kind == "lokr":
        slots = {"w1": random(2, 2), "w2": random(shape[0] // 2, shape[1] // 2, *shape[2:])}
    else:
        slots = {"down": random(RANK, *shape[1:]), "up": random(shape[0], RANK, *(1 for _ in shape[2:]))}
    if kind == "dora":
        slots["magnitude"] = random(shape[0], *(1 for _ in shape[1:]))
    return Layer(kind=kind, slots=slots, scale=scale)
