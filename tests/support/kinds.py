"""Layers of every installed kind in every form it has, for one linear and one convolution weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lorry.ir import Layer
from lorry.plugin.host import host
from lorry.testing import Random
from lorry.testing.samples import Form, forms

__all__ = [
    "COLUMNS", "CONVOLUTION", "CONVOLUTION_LAYERS", "KERNEL", "LINEAR", "LINEAR_LAYERS", "ROWS", "Make", "Random",
]  # fmt: skip

ROWS, COLUMNS, KERNEL = 24, 16, (3, 3)
LINEAR, CONVOLUTION = (ROWS, COLUMNS), (ROWS, COLUMNS, *KERNEL)

Make = Callable[[Random], Layer]


def _made(shape: tuple[int, ...]) -> Mapping[str, Make]:
    """Return a function for every form that a weight of this shape may have, by the form's name."""
    plain = [kind for kind in host().kinds().values() if kind.apply and not kind.changes_shape]
    known = {name: form for kind in plain for name, form in forms(kind).items()}
    return {name: _maker(form, shape) for name, form in known.items() if form(Random(), shape) is not None}


def _maker(form: Form, shape: tuple[int, ...]) -> Make:
    def make(random: Random) -> Layer:
        layer = form(random, shape)
        assert layer is not None
        return layer

    return make


LINEAR_LAYERS = _made(LINEAR)
CONVOLUTION_LAYERS = _made(CONVOLUTION)
