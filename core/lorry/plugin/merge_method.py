"""A merge method: several adapters become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lorry.ir.adapter import Adapter


class MergeMethod(NamedTuple):
    """A way to merge, with the formula it computes and where that comes from.

    `merge` takes adapters with their weights, all of one base; core has checked that their shapes agree.
    """

    name: str
    title: str
    formula: str
    source: str
    merge: Callable[[Sequence[tuple[Adapter, float]]], Adapter]
