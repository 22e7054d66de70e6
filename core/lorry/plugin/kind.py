"""A kind: what a layer's tensors mean (LoRA, LoHa, IA3 …) and how they are spelled in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lorry.ir.layer import Layer
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token

if TYPE_CHECKING:
    import torch

ALPHA = "alpha"
"""The slot that is not kept: reading turns it into the layer's scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How one family of tools names a kind's slots: key suffix to slot.

    The first suffix of a slot is the one written. A module with every slot that is not in `optional` has
    this kind. The slot `alpha` becomes the scale, alpha / rank.
    """

    family: str
    slots: Mapping[str, str]
    optional: frozenset[str] = frozenset()

    def suffix(self, slot: str) -> str:
        """Return the suffix that writes `slot`; KeyError where this spelling has none."""
        return next(suffix for suffix, name in self.slots.items() if name == slot)


class Factors(NamedTuple):
    """A low-rank delta: up (out, r) times down (r, in·kernel), scale left out; float32."""

    down: torch.Tensor
    up: torch.Tensor


class FoundTokens(NamedTuple):
    """Tokens read from a source: vectors by text and by encoder name, and the keys behind each text."""

    vectors: Mapping[str, Mapping[str, TensorRef]]
    keys: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """One way of storing learned tokens.

    `read` takes the source with the keys nobody else understood; it returns no tokens for what is not
    this layout. Encoder names (clip_l, clip_g, t5, "" for the only one) are turned into components by the
    base table. `write` takes tokens with vectors by encoder name; it raises NotRepresentable.
    """

    name: str
    read: Callable[[TensorMap], FoundTokens]
    write: Callable[[Sequence[Token]], TensorMap] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """What one kind of layer means.

    apply(weight, layer) -> weight': the weight with the layer at full strength, in float32; always given
        for kinds with layers. Strength is linear for every kind: W' = W + t (apply(W) - W).
    factors(layer) -> Factors: the delta as up times down, for kinds that have one; such kinds are merged,
        stacked and compared without ever building the delta.
    rank(slots): rank that alpha is divided by.
    target(slots): shape of the weight as far as the slots tell, -1 where they do not: (out, in, *kernel).
    row_slots: slots whose rows are the target's output rows; the others serve all rows alike. This is all
        it takes to split a layer of a fused module (qkv) into its parts and to join equal ones again.
    fuse(parts, rows) -> Layer: join layers of unequal parts into one layer of the fused module; None
        parts count as zeros of that many rows.
    separate(parts) -> parts | None: undo `fuse`: give each part of a fused module only what is its own, None
        where that is nothing; None for all where the parts share.
    build(factors, shape) -> Layer: make a layer of scale 1 from float32 factors, for a weight of that shape.
    """

    name: str
    title: str
    spellings: tuple[Spelling, ...] = ()
    token_layouts: tuple[TokenLayout, ...] = ()
    apply: Callable[[torch.Tensor, Layer], torch.Tensor] | None = None
    factors: Callable[[Layer], Factors] | None = None
    rank: Callable[[Mapping[str, TensorRef]], int] | None = None
    target: Callable[[Mapping[str, TensorRef]], tuple[int, ...]] | None = None
    row_slots: tuple[str, ...] = ()
    fuse: Callable[[Sequence[Layer | None], Sequence[int]], Layer] | None = None
    separate: Callable[[Sequence[Layer]], Sequence[Layer | None] | None] | None = None
    build: Callable[[Factors, tuple[int, ...]], Layer] | None = None
    needs_weight: bool = False
    changes_shape: bool = False
    timestep: bool = False
