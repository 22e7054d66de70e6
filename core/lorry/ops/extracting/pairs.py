"""Which parameters of two base models are compared, and in which form their difference is to be held."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ops.baking.bake import check_plain
from lorry.ops.bases.base import Base
from lorry.ops.bases.quantised import PLAIN
from lorry.ops.merging.deltas import Parameter
from lorry.plugin.base_model import BaseModel

LOW_RANK, TUCKER, FULL, VOCABULARY = "low rank", "tucker", "full", "vocabulary"

CONVOLUTIONS = ("linear", "1x1", "tucker", "full")
"""How convolutions are held: down as the kernel flattened, only those of one point, in Tucker form, in full."""


class Forms(NamedTuple):
    """How differences are held.

    convolutions: one of CONVOLUTIONS. full: every difference in full, none at low rank. others: also what has no
    rank (biases, norms) and the vocabulary, in full.
    """

    convolutions: str = CONVOLUTIONS[0]
    full: bool = False
    others: bool = True


class Pair(NamedTuple):
    """One parameter in both models, and how its difference is held; a vocabulary's tuned one may have more rows."""

    at: Parameter
    tuned: TensorRef
    base: TensorRef
    form: str


class Pairs(NamedTuple):
    """All parameters that are compared, in the tuned model's file order, and what is not, with the reason."""

    pairs: tuple[Pair, ...]
    left_out: dict[str, str]


def match(tuned: Base, base: Base, model: BaseModel, forms: Forms) -> Pairs:
    """Pair the parameters of two models of one family, whatever their layouts.

    Raises Incompatible for other families, for quantised weights, and where a parameter is missing or of another
    shape in one of them; a component that only one has is left out.
    """
    if forms.convolutions not in CONVOLUTIONS:
        raise InvalidArgument(f"{forms.convolutions!r} is none of {', '.join(CONVOLUTIONS)}")
    if tuned.id != base.id:
        raise Incompatible(f"{tuned.path} is a {tuned.id} model and {base.path} is {base.id}; give the base it is of")
    check_plain(tuned)
    check_plain(base)
    left_out = dict(_components_left_out(tuned, base, model))
    names = [name for name in tuned.tensors if name.partition(".")[0] not in left_out]
    for one, other in ((tuned, base), (base, tuned)):
        for name, ref in one.tensors.items():
            if name not in other.tensors and name.partition(".")[0] not in left_out and ref.dtype in PLAIN:
                raise Incompatible(f"{one.path} has {name}, and {other.path} has no such parameter: another size?")
    found = []
    for name in names:
        pair = _pair(name, tuned, base, model, forms)
        if isinstance(pair, Pair):
            found.append(pair)
        elif pair:
            left_out[name] = pair
    if not found:
        raise Incompatible(f"{tuned.path} and {base.path} have no parameter in common that is to be compared")
    return Pairs(tuple(found), left_out)


def _components_left_out(tuned: Base, base: Base, model: BaseModel) -> Iterator[tuple[str, str]]:
    for name in sorted(tuned.components | base.components):
        component = model.component(name)
        if name not in base.components:
            yield name, f"{base.path} has no such component"
        elif name not in tuned.components:
            yield name, f"{tuned.path} has no such component"
        elif component is None or not component.naming:
            yield name, "no format has adapters for it; it was not compared"


def _pair(name: str, tuned: Base, base: Base, model: BaseModel, forms: Forms) -> Pair | str:
    """Return the pair, or why it is left out; "" for what is no parameter (positions, counters)."""
    ours, theirs = tuned.tensors[name], base.tensors.get(name)
    if theirs is None or ours.dtype not in PLAIN:
        return ""
    component, _, rest = name.partition(".")
    module, _, param = rest.rpartition(".")
    at = Parameter(ModulePath(component, module), param)
    part = model.component(component)
    if part is not None and part.vocabulary and module == part.vocabulary and ours.shape[1:] == theirs.shape[1:]:
        if ours.shape[0] < theirs.shape[0]:
            raise Incompatible(f"{tuned.path} has fewer words in {name} than {base.path}: another base?")
        return Pair(at, ours, theirs, VOCABULARY) if forms.others else "a vocabulary, which was not asked for"
    ours = _of_shape(name, ours, theirs.shape, tuned, base)
    form = _form(theirs.shape, param, forms)
    return Pair(at, ours, theirs, form) if form in (LOW_RANK, TUCKER, FULL) else form


def _form(shape: tuple[int, ...], param: str, forms: Forms) -> str:
    """Return the form, or why there is none."""
    if len(shape) < 2 or param != "weight":  # noqa: PLR2004  a matrix has two axes
        return FULL if forms.others else "a bias or norm, which was not asked for"
    if forms.full:
        return FULL
    if prod(shape[2:]) == 1 or forms.convolutions == "linear":
        return LOW_RANK
    if forms.convolutions == "1x1":
        return f"a convolution of {'x'.join(map(str, shape[2:]))}, which was not asked for"
    return TUCKER if forms.convolutions == "tucker" else FULL


def _of_shape(name: str, ref: TensorRef, shape: tuple[int, ...], tuned: Base, base: Base) -> TensorRef:
    """Return the tensor in the base's shape: a linear layer and a convolution of one point hold the same."""
    if ref.shape == shape:
        return ref
    if ref.shape[:2] == shape[:2] and prod(ref.shape[2:]) == prod(shape[2:]) == 1:
        return ref.reshape(*shape)
    raise Incompatible(
        f"{name} is {list(ref.shape)} in {tuned.path} and {list(shape)} in {base.path}; give the base it was tuned from"
    )
