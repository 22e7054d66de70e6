"""One parameter's difference between two models, cut to what the adapter will hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.dense import decompose_all
from lorry.algebra.ranks import Rank
from lorry.algebra.svd import Truncated
from lorry.algebra.tucker import Tucker, tucker
from lorry.errors import InvalidFile
from lorry.ops.extracting.pairs import FULL, LOW_RANK, TUCKER, VOCABULARY, Pair
from lorry.ops.extracting.scratch import Scratch

if TYPE_CHECKING:
    from torch import Tensor

UNCHANGED = "unchanged"


class Piece(NamedTuple):
    """What is kept of one difference: its form, and for low rank and Tucker its float32 factors.

    tensors: up, down, core (Tucker), values (the known singular values, float64). norm: ‖ΔW‖; tail: what is not held.
    """

    form: str
    tensors: Mapping[str, Tensor]
    norm: float
    tail: float


def cut_pairs(pairs: Sequence[Pair], rank: Rank, scratch: Scratch, device: str) -> list[Piece]:
    """Cut the differences of pairs of one form and shape, all at once; raise InvalidFile for NaN and infinity.

    On the CPU, where that gains nothing, it must be one pair.
    """
    deltas = {at: delta for at, pair in enumerate(pairs) if (delta := difference(pair, scratch, device)) is not None}
    made = dict(zip(deltas, _pieces(pairs[0].form, list(deltas.values()), rank), strict=True))
    return [made.get(at, Piece(UNCHANGED, {}, 0.0, 0.0)) for at in range(len(pairs))]


def _pieces(form: str, deltas: Sequence[Tensor], rank: Rank) -> list[Piece]:
    import torch

    if not deltas:
        return []
    if form == LOW_RANK:
        flat = [delta.flatten(1) for delta in deltas]
        together = torch.stack(flat) if len(flat) > 1 else flat[0][None]  # one alone is not copied
        return [_low_rank(cut) for cut in decompose_all(together, rank)]
    norms = [float(torch.linalg.vector_norm(delta.double())) for delta in deltas]
    if form == TUCKER:
        return [_tucker(tucker(delta, rank), norm) for delta, norm in zip(deltas, norms, strict=True)]
    return [Piece(FULL, {}, norm, 0.0) for norm in norms]


def _low_rank(cut: Truncated) -> Piece:
    tensors = {"up": cut.factors.up, "down": cut.factors.down, "values": cut.values}
    return Piece(LOW_RANK, {name: tensor.cpu() for name, tensor in tensors.items()}, cut.norm, cut.tail)


def _tucker(cut: Tucker, norm: float) -> Piece:
    tensors = {"up": cut.up, "core": cut.core, "down": cut.down, "values": cut.values}
    return Piece(TUCKER, {name: tensor.cpu() for name, tensor in tensors.items()}, norm, cut.tail)


def difference(pair: Pair, scratch: Scratch, device: str = "cpu") -> Tensor | None:
    """Return tuned - base in float32, of the base's shape; None where nothing but rounding differs.

    On the CPU it lies in the scratch memory, until that is used again. Weights kept in another dtype differ by
    rounding alone where the wider ones round to the narrower ones. Raises InvalidFile naming what is not finite.
    """
    import torch

    words = pair.tuned.rows(0, pair.base.shape[0]) if pair.form == VOCABULARY else pair.tuned
    tuned, base = scratch.read("tuned", words), scratch.read("base", pair.base)
    if _same_but_for_rounding(tuned, base):
        return None
    if device == "cpu":  # widened one by one: a subtraction of mixed dtypes takes three times as long
        delta = scratch.empty("delta", tuned.shape, torch.float32).copy_(tuned)
        delta -= scratch.empty("widened", base.shape, torch.float32).copy_(base)
    else:
        delta = tuned.to(device).to(torch.float32, copy=True).sub_(base.to(device))
    norm = torch.linalg.vector_norm(delta)
    if not bool(norm.isfinite()):
        odd = "the base" if bool(tuned.isfinite().all()) else "the tuned model"
        raise InvalidFile(f"{pair.at} of {odd} holds NaN, infinity or numbers too large to tell apart from them")
    return delta if bool(norm) else None


def _same_but_for_rounding(tuned: Tensor, base: Tensor) -> bool:
    """Tell whether the wider of two tensors rounds to the narrower one."""
    import torch

    if tuned.dtype != base.dtype:
        narrow = min((tuned.dtype, base.dtype), key=lambda dtype: dtype.itemsize)
        tuned, base = tuned.to(narrow), base.to(narrow)
    unit = torch.int64 if tuned.nbytes % 8 == 0 else torch.uint8  # eight bytes are compared as fast as one
    return torch.equal(tuned.reshape(-1).view(unit), base.reshape(-1).view(unit))
