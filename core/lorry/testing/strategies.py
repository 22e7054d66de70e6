"""Hypothesis strategies: layers of every kind, adapters of odd shapes, ranks and dtypes for any base, and extras."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from hypothesis import assume
from hypothesis import strategies as st

from lorry.ir import Adapter, Layer, ModulePath, TensorRef, Token
from lorry.ir.tensor import BITS, from_bytes
from lorry.ops.bases.base import Base
from lorry.plugin import BaseModel, Component, Kind
from lorry.testing.samples import Form, Random, Shape, forms, told
from lorry.testing.tables import base_with, filled, ruled_out, shape

DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)
"""What adapters are stored in."""

SCALES = st.sampled_from([1.0, 0.5, -1.0, 2.0, 1 / 3, 0.1, 1e-3, 7.25]) | st.floats(-8, 8).filter(
    lambda scale: abs(scale) > 1e-4  # noqa: PLR2004  what is nearly nothing is compared with nothing
)

KERNELS: st.SearchStrategy[Shape] = st.sampled_from([(), (3, 3), (1, 1), (2, 3)])


class Example(NamedTuple):
    """An adapter, and a base of the weights that it changes."""

    adapter: Adapter
    base: Base

    def __str__(self) -> str:
        layers = [f"{path}: {told(layer)}" for path, stack in self.adapter.layers.items() for layer in stack]
        return f"for {self.adapter.base}: {'; '.join([*layers, *map(repr, self.adapter.tokens)])}"


def shapes(rows: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[Shape]:
    """Draw shapes of weights, odd ones too: linear layers, and convolutions of square and other kernels."""
    size = st.integers(1, 20)
    return st.builds(lambda out, into, kernel: (out, into, *kernel), size if rows is None else rows, size, KERNELS)


@st.composite
def layers(draw: st.DrawFn, kind: Kind, size: Shape, form: Form | None = None) -> Layer:
    """Draw a layer of a kind for a weight of that shape, in any dtypes, and in any of its forms unless one is given."""
    make = form or draw(st.sampled_from(list(forms(kind).values())))
    made = make(Random(draw(st.integers(0, 2**32)), draw(st.integers(1, 4)), draw(SCALES)), size)
    assume(made is not None)
    assert made is not None  # noqa: S101  assume() does not tell type checkers
    names = [slot for slot, ref in made.slots.items() if ref.dtype == "F32" and ref.numel > 1]
    dtypes = draw(_dtypes(len(names)))
    stored = {slot: made.slots[slot].torch(dtype=dtype) for slot, dtype in zip(names, dtypes, strict=True)}
    return replace(made, slots={**made.slots, **{slot: TensorRef.from_torch(each) for slot, each in stored.items()}})


def adapters(
    model: BaseModel,
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    kind: Kind,
    size: tuple[int, int] | None = None,
    last: int = 40,
) -> st.SearchStrategy[Adapter]:
    """Draw an adapter for some of the modules given by component: see `examples`."""
    return examples(model, groups, kind, size=size, last=last).map(lambda each: each.adapter)


def examples(  # noqa: PLR0913, PLR0917  every option has a default
    model: BaseModel,
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    kind: Kind,
    form: Form | None = None,
    size: tuple[int, int] | None = None,
    last: int = 40,
) -> st.SearchStrategy[Example]:
    """Draw an adapter of one form for some of the modules given by component, with the weights it changes.

    Modules are templates, those of a fused module together. Often the adapter has some or all parts of one, which
    then agree in width as a real model's do. `size` is the unit of rows and the width of all weights, `last` the
    largest index.
    """

    @st.composite
    def drawn(draw: st.DrawFn) -> Example:
        unit, width = size or (draw(st.integers(1, 3)), draw(st.integers(1, 6)))
        make = form or draw(st.sampled_from(list(forms(kind).values())))
        found: dict[ModulePath, tuple[Layer, ...]] = {}
        weights: dict[ModulePath, Shape] = {}
        for component in (each for each in model.components if each.name in groups):
            for parts, numbers, adapted in draw(_modules(groups[component.name], last)):
                paths = {part: ModulePath(component.name, filled(part, numbers)) for part in sorted(parts)}
                if any(ruled_out(model, component.name, path.name) for path in paths.values()):
                    continue
                for part, path in paths.items():
                    weight = weights[path] = shape(model, component, part, unit, width)
                    if part in adapted and make(Random(), weight) is not None:
                        found[path] = (draw(layers(kind, weight, make)),)
        assume(found)
        return Example(Adapter(base=model.id, layers=found), base_with(model.id, weights))

    return drawn()


def tokens(encoders: Sequence[Component], most: int = 2) -> st.SearchStrategy[dict[str, Token]]:
    """Draw learned tokens with vectors for all of the encoders."""
    words = st.text(st.characters(categories=["L", "N"], include_characters="<>-_ "), min_size=1, max_size=12)

    def token(text: str, count: int, seed: int) -> Token:
        random = Random(seed)
        return Token(text=text, vectors={each.name: random(count, 6) for each in encoders})

    drawn = st.builds(token, words, st.integers(1, 3), st.integers(0, 99))
    return st.lists(drawn, min_size=1, max_size=most, unique_by=lambda each: each.text).map(
        lambda found: {each.text: each for each in found}
    )


@st.composite
def tensors(draw: st.DrawFn, dtypes: Sequence[str] = tuple(BITS)) -> TensorRef:
    """Draw a tensor of any bytes: numbers alone, empty ones, and up to four axes."""
    dtype = draw(st.sampled_from(list(dtypes)))
    size = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    if math.prod(size) * BITS[dtype] % 8:
        size = (*size, 4)  # so many of six or of four bits fill whole bytes
    count = math.prod(size) * BITS[dtype] // 8
    data = draw(st.binary(min_size=count, max_size=count))
    return from_bytes(dtype, size, bytes(each & 1 for each in data) if dtype == "BOOL" else data)


def extras() -> st.SearchStrategy[dict[str, TensorRef]]:
    """Draw keys that mean nothing to anybody, with tensors."""
    words = st.text(st.characters(categories=["Ll"], max_codepoint=0x2FF), min_size=1, max_size=6)
    keys = st.lists(words, min_size=2, max_size=3).map(lambda each: "stranger." + ".".join(each))
    return st.dictionaries(keys, tensors(("F32", "F16", "I64", "U8")), max_size=3)


@st.composite
def _modules(
    draw: st.DrawFn, known: Sequence[tuple[str, ...]], last: int
) -> list[tuple[set[str], list[int], set[str]]]:
    """Draw modules, fused ones often: templates of all parts, numbers for the indices, and the parts to adapt."""
    fused = [parts for parts in known if len(parts) > 1]
    each = st.sampled_from(known) | st.sampled_from(fused) if fused else st.sampled_from(known)
    numbers = st.lists(st.integers(0, last), min_size=3, max_size=3)
    drawn = [(parts, draw(numbers)) for parts in draw(st.lists(each, min_size=1, max_size=3))]
    return [
        (
            {part for others in known if set(others) & set(parts) for part in others},
            at,
            draw(st.sets(st.sampled_from(parts), min_size=1)),
        )
        for parts, at in drawn
    ]


def _dtypes(count: int) -> st.SearchStrategy[tuple[torch.dtype, ...]]:
    """Draw one dtype for all slots, as most files have, or one for each."""
    one = st.sampled_from(DTYPES)
    return one.map(lambda dtype: (dtype,) * count) | st.tuples(*[one] * count)
