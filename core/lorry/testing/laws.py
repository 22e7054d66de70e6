"""Trying laws on drawn examples, and telling the one that is broken.

A law is a function of one example: its docstring is the law in words, and any exception that leaves it breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import TypeVar

import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException, Unsatisfiable

Example = TypeVar("Example")

_UNTIMED = (
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
    HealthCheck.too_slow,
)
"""Checks of how fast examples are made: a law is a law on a slow machine too."""


class LawBroken(AssertionError):
    """A plugin does not do what its contract says; the message names the law and the example."""


def hold(
    subject: str, laws: Sequence[Callable[[Example], None]], examples: st.SearchStrategy[Example], count: int
) -> None:
    """Try laws on `count` drawn examples, the same ones each time; raise LawBroken for the first broken one."""

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,  # the message has the example
        suppress_health_check=_UNTIMED,
    )
    @given(st.deferred(lambda: examples))  # whose repr, unlike theirs, is short
    def tried(example: Example) -> None:
        for law in laws:
            keep(subject, law, example)

    try:
        tried()
    except Unsatisfiable:
        raise LawBroken(f"{subject}: not one example could be made of it, so nothing was tried") from None


def keep(subject: str, law: Callable[[Example], None], example: Example) -> None:
    """Try a law on one example; raise LawBroken."""
    try:
        law(example)
    except (LawBroken, HypothesisException):
        raise
    except Exception as error:
        text = " ".join(cleandoc(law.__doc__ or law.__name__).split())
        found = f"{type(error).__name__}: {error}"
        raise LawBroken(
            f"{subject} breaks a law\n  law:     {text}\n  example: {example}\n  found:   {found}"
        ) from error


def expect(truth: object, otherwise: str) -> None:
    """Raise AssertionError with what was found, unless it is true."""
    if not truth:
        raise AssertionError(otherwise)


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, what: str) -> None:
    """Raise AssertionError unless two tensors agree to `tolerance` times the largest number wanted (or 1)."""
    expect(found.shape == wanted.shape, f"{what} has shape {list(found.shape)}, not {list(wanted.shape)}")
    size = max(float(wanted.double().abs().max()) if wanted.numel() else 0.0, 1.0)
    away = float((found.double() - wanted.double()).abs().max()) if wanted.numel() else 0.0
    expect(away <= tolerance * size, f"{what} is {away:.3g} away, where numbers are up to {size:.3g}")
