"""A kind: what a layer's tensors mean (LoRA, LoHa, IA3 …) and how they are spelled in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lorry.ir.layer import Layer
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ir.token import Token

if TYPE_CHECKING:
    import torch

ALPHA = "alpha"
"""The slot that is not kept: reading turns it into the layer's scale."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _always(slots: Mapping[str, TensorRef]) -> bool:  # noqa: ARG001  the shape of `Spelling.accepts`
    return True


def _as_it_is(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    return layer


class Spelling(NamedTuple):
    """How one family of tools names a kind's slots: key suffix to slot.

    The first suffix of a slot is the one written. A module with every slot that is not in `optional` has
    this kind. The slot `alpha` becomes the scale, alpha / rank. A slot `name.N` is the `name` of the Nth part
    of a fused module alone.

    param: the parameter of the module that the kind changes.
    shared: slots that all modules have in common, by their whole key.
    beside: the kinds whose layer on the same module gives this one its scale; it cannot stand alone.
    accepts: tells whether slots of these shapes are meant, where another kind has the same suffixes.
    read: turns the layer as it is spelled into the kind's own form; `facts` are what the dialect says of the
        whole source. It raises InvalidFile for what is broken.
    write: the inverse; None for a layer that has no such spelling.
    """

    family: str
    slots: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    param: str = "weight"
    shared: Mapping[str, str] = _NOTHING
    beside: tuple[str, ...] = ()
    accepts: Callable[[Mapping[str, TensorRef]], bool] = _always
    read: Callable[[Layer, Mapping[str, Any]], Layer] = _as_it_is
    write: Callable[[Layer, Mapping[str, Any]], Layer | None] = _as_it_is

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


class TokenLayout(NamedTuple):
    """One way of storing learned tokens.

    `read` takes the source with the keys nobody else understood; it returns no tokens for what is not
    this layout. Encoder names (clip_l, clip_g, t5, "" for the only one) are turned into components by the
    base table. `write` takes tokens with vectors by encoder name; it raises NotRepresentable. `named` says that
    it names the encoder even where there is only one, `by_file` that the name of the file is the token's text.
    """

    name: str
    read: Callable[[TensorMap], FoundTokens]
    write: Callable[[Sequence[Token]], TensorMap] | None = None
    named: bool = False
    by_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """What one kind of layer means.

    apply(weight, layer) -> weight': the weight with the layer at full strength, in float32; always given
        for kinds with layers. Strength is linear for every kind: W' = W + t (apply(W) - W).
    factors(layer) -> Factors: the delta as up times down, for kinds that have one; such kinds are merged,
        stacked and compared without ever building the delta.
    rank(slots): rank that alpha is divided by; 0 where the slots do not tell it, and alpha means nothing.
    target(slots): shape of the weight as far as the slots tell, -1 where they do not: (out, in, *kernel). A
        kernel that is not told is one last -1, and then in counts it too: (out, in · kernel, -1).
    row_slots: slots whose rows are the target's output rows; the others serve all rows alike. This is all
        it takes to split a layer of a fused module (qkv) into its parts and to join equal ones again.
    whole_slots: slots that say something of all rows together: a layer that has one cannot be split.
    output_slots: slots that multiply what the module puts out: its bias too, where it has one.
    dense(layer) -> Layer: the same layer in a form whose every slot has the target's rows, for what cannot be
        split; tensors are computed when they are read.
    join(parts, rows) -> Layer: join layers of unequal parts into one layer of the fused module; None
        parts count as zeros of that many rows.
    unjoin(parts) -> parts | None: undo `join`: give each part of a fused module only what is its own, None
        where that is nothing; None for all where the parts share.
    build(factors, shape) -> Layer: make a layer of scale 1 from float32 factors, for a weight of that shape.
    tucker(up, core, down) -> Layer: make a layer of scale 1 from float32 up (out, r), core (r, r, *kernel) and down
        (r, in), for a convolution.
    whole(delta) -> Layer: make a layer of scale 1 that adds a tensor of the parameter's own shape; the one kind that
        has it holds what has no factors.
    samples: "module:attribute" of a mapping from the name of each form a layer of this kind may have to a function
        (random, shape) -> Layer that makes one; what lorry.testing tries the kind on. Not needed beside `build`.
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
    whole_slots: tuple[str, ...] = ()
    output_slots: tuple[str, ...] = ()
    dense: Callable[[Layer], Layer] | None = None
    join: Callable[[Sequence[Layer | None], Sequence[int]], Layer] | None = None
    unjoin: Callable[[Sequence[Layer]], Sequence[Layer | None] | None] | None = None
    build: Callable[[Factors, tuple[int, ...]], Layer] | None = None
    tucker: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Layer] | None = None
    whole: Callable[[TensorRef], Layer] | None = None
    samples: str = ""
    needs_weight: bool = False
    changes_shape: bool = False
    timestep: bool = False

    def multiplies_output(self, layer: Layer) -> bool:
        """Tell whether this layer multiplies the bias as it does the weight."""
        return not layer.slots.keys().isdisjoint(self.output_slots)


def fits(target: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether a kind's target is a weight of this shape.

    -1 takes any size, and a 1x1 convolution and a linear layer of the same channels take the same layers.
    """
    if kernel_untold(target) or kernel_untold(shape):
        target, shape = _flat(target), _flat(shape)
    axes = max(len(target), len(shape))
    padded = ((*each, *(1 for _ in range(axes - len(each)))) for each in (target, shape))
    return all(-1 in (a, b) or a == b for a, b in zip(*padded, strict=True))


def kernel_untold(shape: tuple[int, ...]) -> bool:
    """Tell whether this target says nothing of the kernel, nor whether there is one."""
    return len(shape) == 3 and shape[-1] == -1  # noqa: PLR2004  out, in · kernel, and a kernel that is not told


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    rest = shape[1:2] if kernel_untold(shape) else shape[1:]
    return (*shape[:1], -1 if -1 in rest else prod(rest))
