"""Hypothesis strategies: adapters of odd shapes, ranks and dtypes for any installed base and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from hypothesis import assume
from hypothesis import strategies as st

from lorry.ir import Adapter, Layer, ModulePath, TensorRef, Token
from lorry.plugin import BaseModel, Component, Factors, Kind

from .tables import filled, ruled_out, shape

DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)

SCALES = st.sampled_from([1.0, 0.5, -1.0, 2.0, 1 / 3, 0.1, 1e-3, 7.25]) | st.floats(-8, 8).filter(
    lambda scale: abs(scale) > 1e-4
)


@st.composite
def layers(draw: st.DrawFn, kind: Kind, sizes: tuple[int, ...]) -> Layer:
    """Draw one layer of a kind that is built from factors."""
    assert kind.build is not None
    rank = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    inner = torch.Size(sizes[1:]).numel()
    # Signs by row and column, so that the ranks never cancel out and errors are seen against numbers of their size.
    down = torch.randn(rank, inner, generator=generator).abs() * torch.randn(inner, generator=generator).sign()
    up = torch.randn(sizes[0], rank, generator=generator).abs() * torch.randn(sizes[0], 1, generator=generator).sign()
    built = kind.build(Factors(down, up), sizes)
    slots = {
        slot: TensorRef.from_torch(ref.torch(dtype=dtype))
        for (slot, ref), dtype in zip(built.slots.items(), draw(_dtypes(len(built.slots))), strict=True)
    }
    return replace(built, slots=slots, scale=draw(SCALES))


@st.composite
def adapters(
    draw: st.DrawFn,
    model: BaseModel,
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    kind: Kind,
    size: tuple[int, int] | None = None,
    last: int = 40,
) -> Adapter:
    """Draw an adapter for some of the modules given by component: templates, those of a fused module together.

    Often it has some or all parts of a fused module, which then agree in width as a real model's do. `size` is
    the unit of rows and the width of all weights, `last` the largest index.
    """
    unit, width = size or (draw(st.integers(1, 3)), draw(st.integers(1, 6)))
    found: dict[ModulePath, tuple[Layer, ...]] = {}
    for name, known in groups.items():
        component = model.component(name)
        assert component is not None
        fused = [parts for parts in known if len(parts) > 1]
        some = st.sampled_from(known) | st.sampled_from(fused) if fused else st.sampled_from(known)
        for parts in draw(st.lists(some, min_size=1, max_size=3)):
            numbers = draw(st.lists(st.integers(0, last), min_size=3, max_size=3))
            for template in sorted(draw(st.sets(st.sampled_from(parts), min_size=1))):
                path = ModulePath(name, filled(template, numbers))
                if not ruled_out(model, name, path.name):
                    found[path] = (draw(layers(kind, shape(model, component, template, unit, width))),)
    assume(found)
    return Adapter(base=model.id, layers=found)


def tokens(encoders: Sequence[Component], most: int = 2) -> st.SearchStrategy[dict[str, Token]]:
    """Draw learned tokens with vectors for all of the encoders."""
    words = st.text(st.characters(categories=["L", "N"], include_characters="<>-_ "), min_size=1, max_size=12)

    def token(text: str, count: int, seed: int) -> Token:
        generator = torch.Generator().manual_seed(seed)
        made = {each.name: torch.randn(count, 6, generator=generator) for each in encoders}
        return Token(text=text, vectors={name: TensorRef.from_torch(matrix) for name, matrix in made.items()})

    drawn = st.builds(token, words, st.integers(1, 3), st.integers(0, 99))
    return st.lists(drawn, min_size=1, max_size=most, unique_by=lambda each: each.text).map(
        lambda found: {each.text: each for each in found}
    )


def _dtypes(count: int) -> st.SearchStrategy[tuple[torch.dtype, ...]]:
    """Draw one dtype for all slots, as most files have, or one for each."""
    one = st.sampled_from(DTYPES)
    return one.map(lambda dtype: (dtype,) * count) | st.tuples(*[one] * count)
