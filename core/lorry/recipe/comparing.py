"""Whether what a recipe made is what had been made before: by the digest of the tensors, else by what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import LorryError, VerificationFailed
from lorry.ops.comparing.diff import diff
from lorry.ops.disk.tensor_digest import digest_of
from lorry.ops.reading.read import open_adapter
from lorry.plugin.host import Host
from lorry.recipe.reading import Read

TOLERANCES = {"F32": 1e-5, "F16": 4e-3, "BF16": 3e-2}
"""Largest relative error of any ΔW that rounding explains where factors are stored so: some steps of that dtype."""


class Compared(NamedTuple):
    """The digest that was expected, the one that was found, and where these differ the largest relative error of ΔW.

    The error is None where nothing is there to compare with, or it is a base model; the tolerance is that of the dtype.
    """

    expected: str
    found: str
    error: float | None = None
    tolerance: float = 0.0

    @property
    def exact(self) -> bool:
        """Tell whether every tensor is the same to the bit."""
        return self.expected == self.found

    @property
    def same(self) -> bool:
        """Tell whether nothing differs but by rounding."""
        return self.exact or (self.error is not None and self.error <= self.tolerance)

    def check(self, what: str) -> None:
        """Raise VerificationFailed where it is something else; `what` begins the message."""
        if not self.same:
            by = f" by a relative error of {self.error:.2g} ({self.tolerance:g} is tolerated)" if self.error else ""
            raise VerificationFailed(
                f"{what} is not what the recipe made before: it differs{by}, its tensors being {self.found} and "
                f"not {self.expected}; were other versions of lorry or torch, another device or other threads at work?"
            )

    def in_words(self) -> str:
        """Say for people how a result that is the same compares."""
        if self.exact:
            return f"every tensor as before ({self.found[:19]}…)"
        return f"as before but for rounding: relative error {self.error:.2g}, {self.tolerance:g} is tolerated"

    def told(self) -> dict[str, Any]:
        """Tell programs how it compares."""
        return {**self._asdict(), "exact": self.exact}


def compare(read: Read, made: Path, plugins: Host) -> Compared | None:
    """Compare a result with what the recipe was read from, or with the digest it expects; None where it has neither."""
    expect = read.recipe.expect
    if not read.made and expect is None:
        return None
    expected = expect.tensor_digest if expect else ""
    before = read.made[0] if len(read.made) == 1 else None
    if before:
        expected = digest_of(before, plugins)
    if not expected:
        return None
    return compare_with(expected, made, read.made, plugins)


def compare_with(expected: str, made: Path, before: tuple[Path, ...], plugins: Host) -> Compared:
    """Compare a result with an expected digest, and where that differs with the files of that adapter."""
    found = Compared(expected, digest_of(made, plugins))
    if found.exact or not before:
        return found
    try:
        first = open_adapter(before[0] if len(before) == 1 else before, plugins=plugins)
        error = diff(first, open_adapter(made, plugins=plugins), plugins=plugins).error
        dtypes = {ref.dtype for stack in first.layers.values() for layer in stack for ref in layer.slots.values()}
        tolerance = max((TOLERANCES.get(each, 0.0) for each in dtypes), default=0.0)
        return found._replace(error=error, tolerance=tolerance)
    except LorryError:  # a base model, or kinds whose change depends on one
        return found
