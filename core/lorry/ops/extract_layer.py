"""One parameter's difference between two models, cut to what the adapter will hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorry.algebra.dense import decompose_all
from lorry.algebra.ranks import Rank
from lorry.algebra.svd import Truncated
from lorry.algebra.tucker import Tucker, tucker
from lorry.errors import InvalidFile
from lorry.ir.tensor import BITS, TensorRef
from lorry.ops.extract_pairs import FULL, LOW_RANK, TUCKER, VOCABULARY, Pair

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


def cut_pairs(pairs: Sequence[Pair], rank: Rank, device: str) -> list[Piece]:
    """Cut the differences of pairs of one form and shape, all at once; raise InvalidFile for NaN and infinity."""
    deltas = {at: delta for at, pair in enumerate(pairs) if (delta := difference(pair, device)) is not None}
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


def difference(pair: Pair, device: str = "cpu") -> Tensor | None:
    """Return tuned - base in float32, of the base's shape; None where nothing but rounding differs.

    Weights kept in another dtype differ by rounding alone where the wider ones round to the narrower ones.
    Raises InvalidFile naming the parameter that is not finite.
    """
    import torch

    known = pair.base.shape[0] if pair.form == VOCABULARY else None
    tuned = pair.tuned if known is None else pair.tuned.rows(0, known)
    delta = tuned.torch(device, torch.float32)
    base = pair.base.torch(device, torch.float32)
    if tuned.dtype != pair.base.dtype and _same_but_for_rounding(delta, base, tuned, pair.base):
        return None
    delta -= base
    norm = torch.linalg.vector_norm(delta)
    if not bool(norm.isfinite()):
        odd = "the tuned model" if bool(base.isfinite().all()) else "the base"
        raise InvalidFile(f"{pair.at} of {odd} holds NaN, infinity or numbers too large to tell apart from them")
    return delta if bool(norm) else None


def _same_but_for_rounding(tuned: Tensor, base: Tensor, first: TensorRef, second: TensorRef) -> bool:
    import torch

    narrow = min((first.dtype, second.dtype), key=BITS.__getitem__)
    dtype = TensorRef(narrow, (0,), ()).torch().dtype
    return torch.equal(tuned.to(dtype), base.to(dtype))
