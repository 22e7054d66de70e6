"""Sample layers of every built-in kind in every form it has: what lorry.testing tries kinds, dialects and bases on.

Each table maps the name of a form to a function that makes a layer of it for a weight of the given shape, or None
where a weight of this shape has no such form. The names are those of the tables' kinds, in capitals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import from_scalar

if TYPE_CHECKING:
    from lorry.testing import Random

Shape = tuple[int, ...]
Forms = Mapping[str, Callable[["Random", Shape], Layer | None]]


def _lora(r: Random, shape: Shape) -> Layer:
    slots = {"down": r(r.rank, *shape[1:]), "up": r(shape[0], r.rank, *_ones(shape))}
    return Layer(kind="lora", slots=slots, scale=r.scale)


def _lora_tucker(r: Random, shape: Shape) -> Layer | None:
    if not shape[2:]:
        return None
    ones = _ones(shape)
    down, mid, up = r(r.rank + 1, shape[1], *ones), r(r.rank, r.rank + 1, *shape[2:]), r(shape[0], r.rank, *ones)
    return Layer(kind="lora", slots={"down": down, "mid": mid, "up": up}, scale=r.scale)


def _wide_lora(r: Random, shape: Shape) -> Layer:
    return replace(_lora(r, (shape[0], shape[1] + 4, *shape[2:])), kind="wide-lora")


def _loha(r: Random, shape: Shape) -> Layer:
    inner = math.prod(shape[1:])
    slots = {f"w{at}_a": r(shape[0], r.rank) for at in "12"} | {f"w{at}_b": r(r.rank, inner) for at in "12"}
    return Layer(kind="loha", slots=slots, scale=r.scale)


def _loha_tucker(r: Random, shape: Shape) -> Layer | None:
    if not shape[2:]:
        return None
    slots: dict[str, TensorRef] = {}
    for at in "12":
        slots |= {f"w{at}_a": r(r.rank, shape[0]), f"w{at}_b": r(r.rank, shape[1])}
        slots[f"t{at}"] = r(r.rank, r.rank, *shape[2:])
    return Layer(kind="loha", slots=slots, scale=r.scale)


def _lokr(slots: Mapping[str, TensorRef], scale: float) -> Layer:
    return Layer(kind="lokr", slots=slots, scale=scale)


def _lokr_low(r: Random, shape: Shape) -> Layer | None:
    (out, rows), (into, columns) = _halves(shape[0]), _halves(shape[1])
    inner, rank = columns * math.prod(shape[2:]), _low(r, rows, columns)
    return _lokr({"w1": r(out, into), "w2_a": r(rows, rank), "w2_b": r(rank, inner)}, r.scale) if rank else None


def _lokr_full(r: Random, shape: Shape) -> Layer:
    (out, rows), (into, columns) = _halves(shape[0]), _halves(shape[1])
    return _lokr({"w1": r(out, into), "w2": r(rows, columns, *shape[2:])}, 1.0)


def _lokr_both(r: Random, shape: Shape) -> Layer | None:
    (out, rows), (into, columns) = _halves(shape[0]), _halves(shape[1])
    rank = min(_low(r, out, into), _low(r, rows, columns))
    if shape[2:] or not rank:
        return None
    slots = {"w1_a": r(out, rank), "w1_b": r(rank, into), "w2_a": r(rows, rank), "w2_b": r(rank, columns)}
    return _lokr(slots, r.scale)


def _lokr_tucker(r: Random, shape: Shape) -> Layer | None:
    (out, rows), (into, columns) = _halves(shape[0]), _halves(shape[1])
    rank = _low(r, rows, columns)
    if not shape[2:] or not rank:
        return None
    factors = {"w2_a": r(rank, rows), "w2_b": r(rank, columns), "t2": r(rank, rank, *shape[2:])}
    return _lokr({"w1": r(out, into), **factors}, r.scale)


def _low(r: Random, rows: int, columns: int) -> int:
    """Return a rank at which trainers factor a matrix of LoKr instead of keeping it whole; 0 where there is none."""
    return min(r.rank, (max(rows, columns) - 1) // 2)


def _magnitude(r: Random, layer: Layer, shape: Shape, kind: str) -> Layer:
    return replace(layer, kind=kind, slots={**layer.slots, "magnitude": r(shape[0], *_ones(shape, 1))})


def _magnitude_in(r: Random, layer: Layer, shape: Shape, kind: str) -> Layer:
    return replace(layer, kind=kind, slots={**layer.slots, "magnitude_in": r(1, shape[1], *_ones(shape))})


def _ia3(slot: str, ref: TensorRef, **options: float) -> Layer:
    return Layer(kind="ia3", slots={slot: ref}, options=options)


def _linear(make: Callable[[Random, Shape], Layer]) -> Callable[[Random, Shape], Layer | None]:
    return lambda r, shape: None if shape[2:] else make(r, shape)


def _glora(r: Random, shape: Shape) -> Layer:
    ones = _ones(shape)
    slots = {
        "a1": r(shape[1], r.rank, *ones, size=0.3),
        "a2": r(r.rank, shape[1], *ones, size=0.3),
        "b1": r(shape[0], r.rank, *ones),
        "b2": r(r.rank, *shape[1:]),
    }
    return Layer(kind="glora", slots=slots, scale=r.scale)


def _vera(r: Random, shape: Shape) -> Layer:
    slots = {"lambda_b": r(shape[0]), "lambda_d": r(r.rank), "A": r(r.rank, shape[1]), "B": r(shape[0], r.rank)}
    return Layer(kind="vera", slots=slots)


def _diag_oft(r: Random, shape: Shape, **slots: TensorRef) -> Layer | None:
    size = _block(shape[0])
    if not size:
        return None
    return Layer(kind="diag-oft", slots={"blocks": r(shape[0] // size, size, size, size=0.2), **slots})


def _boft(r: Random, shape: Shape) -> Layer | None:
    if shape[2:] or shape[0] % 4:
        return None
    stages, size = (2, 4) if shape[0] % 8 == 0 else (1, 2)
    blocks = r(stages, shape[0] // size, size, size, size=0.2)
    return Layer(kind="boft", slots={"blocks": blocks, "rescale": r(shape[0], 1)})


def _input_boft(r: Random, shape: Shape) -> Layer | None:
    if shape[2:] or shape[1] % 4:
        return None
    return Layer(kind="input-boft", slots={"blocks": r(1, shape[1] // 4, 4, 4, size=0.3), "rescale": r(shape[0], 1)})


def _oft(r: Random, shape: Shape, *, shared: bool = False, size: float = 0.1, **options: object) -> Layer | None:
    block = _block(math.prod(shape[1:]))
    if not block:
        return None
    count = 1 if shared else math.prod(shape[1:]) // block
    generators = r(count, block * (block - 1) // 2, size=size)
    return Layer(kind="oft", slots={"generators": generators}, options=options)


def _tlora(r: Random, shape: Shape) -> Layer | None:
    return replace(_lora(r, shape), kind="tlora", slots={**_lora(r, shape).slots, "lambda": r(1, r.rank)})


def _ones(shape: Shape, first: int = 2) -> Shape:
    return tuple(1 for _ in shape[first:])


def _halves(number: int) -> tuple[int, int]:
    """Return two factors of a number as near to each other as they can be, the smaller one first."""
    small = next(each for each in range(math.isqrt(number), 0, -1) if number % each == 0)
    return small, number // small


def _block(number: int) -> int:
    """Return the size of blocks a number divides into; 0 where nothing could turn."""
    return next((size for size in (4, *range(2, number + 1)) if number % size == 0), 0)


LORA: Forms = {"lora": _lora, "lora-tucker": _lora_tucker}
WIDE_LORA: Forms = {"wide-lora": _wide_lora}
DORA: Forms = {
    "dora": lambda r, shape: _magnitude(r, _lora(r, shape), shape, "dora"),
    "dora-columns": lambda r, shape: _magnitude_in(r, _lora(r, shape), shape, "dora"),
}
LOHA: Forms = {"loha": _loha, "loha-tucker": _loha_tucker}
LOHA_DORA: Forms = {
    "loha-dora": lambda r, shape: _magnitude(r, _loha(r, shape), shape, "loha-dora"),
    "loha-dora-columns": lambda r, shape: _magnitude_in(r, _loha(r, shape), shape, "loha-dora"),
}
LOKR: Forms = {
    "lokr": _lokr_low,
    "lokr-full": _lokr_full,
    "lokr-full-scaled": lambda r, shape: replace(_lokr_full(r, shape), scale=r.scale),
    "lokr-both": _lokr_both,
    "lokr-tucker": _lokr_tucker,
}
LOKR_DORA: Forms = {
    "lokr-dora": lambda r, shape: _magnitude(r, _lokr_full(r, shape), shape, "lokr-dora"),
    "lokr-dora-columns": lambda r, shape: _magnitude_in(r, _lokr_full(r, shape), shape, "lokr-dora"),
}
DIFF: Forms = {
    "diff": lambda r, shape: Layer(kind="diff", slots={"diff": r(*shape)}),
    "diff-scaled": lambda r, shape: Layer(kind="diff", slots={"diff": r(*shape)}, scale=r.scale),
}
SET: Forms = {"set": lambda r, shape: Layer(kind="set", slots={"value": r(*shape)})}
IA3: Forms = {
    "ia3-rows": lambda r, shape: _ia3("rows", r(*_around(shape[0], shape)), offset=1.0),
    "ia3-columns": lambda r, shape: _ia3("columns", r(*_around(shape[1], shape)), offset=1.0),
    "ia3-output": _linear(lambda r, shape: _ia3("output", r(shape[0], 1))),
    "ia3-input": _linear(lambda r, shape: _ia3("columns", r(1, shape[1]))),
}
GLORA: Forms = {"glora": _glora}
VERA: Forms = {"vera": _linear(_vera)}
DIAG_OFT: Forms = {
    "diag-oft": _diag_oft,
    "diag-oft-rescaled": lambda r, shape: _diag_oft(r, shape, rescale=r(shape[0], *_ones(shape, 1))),
    "diag-oft-constrained": lambda r, shape: _diag_oft(r, shape, constraint=from_scalar(0.05)),
}
BOFT: Forms = {"boft": _boft}
INPUT_BOFT: Forms = {"input-boft": _input_boft}
OFT: Forms = {
    "oft": _oft,
    "oft-exact": lambda r, shape: _oft(r, shape, terms=0),
    "oft-shared": lambda r, shape: _oft(r, shape, shared=True),
    "oft-constrained": lambda r, shape: _oft(r, shape, size=1.0, limit=0.5),
    "oft-scaled": lambda r, shape: _oft(r, shape, size=1.0, scaled=True, convolutions_by_r=True),
    "oft-onetrainer": lambda r, shape: _oft(r, shape, convolutions_by_r=True),
}
TLORA: Forms = {"tlora": _tlora}


def _around(count: int, shape: Shape) -> Shape:
    """Return the shape in which LyCORIS stores as many factors: with the kernel's axes, for convolutions."""
    return (1, count, *_ones(shape)) if shape[2:] else (count,)
