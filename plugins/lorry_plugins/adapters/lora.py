"""LoRA: a low-rank delta beside a linear or convolution weight.

    delta = scale · up · down                                    linear, and convolutions with down flattened
    delta[o, i, k] = scale · Σ_mn up[o, m] · mid[m, n, k] · down[n, i]      convolutions in Tucker form

Sources: Hu et al., LoRA (arXiv:2106.09685) section 4.1; LyCORIS, Yeh et al. (arXiv:2309.14859) section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry.ir.tensor import BITS, from_bytes, require_torch
from lorry.plugin import Factors, Kind, Spelling, hookimpl
from lorry_plugins.adapters.decomposition import decomposed
from lorry_plugins.adapters.scaling import scaled
from lorry_plugins.adapters.widening import widened

if TYPE_CHECKING:
    from torch import Tensor

LORRY_API = 1

_OPTIONAL = frozenset({"mid", "alpha"})


def rank(slots: Mapping[str, TensorRef]) -> int:
    """Return the rank; raise InvalidFile where up and down do not fit one another."""
    down, up, core = slots["down"].shape, slots["up"].shape, slots["mid"].shape if "mid" in slots else None
    if min(len(down), len(up)) < 2 or math.prod(up[2:]) != 1:  # noqa: PLR2004  matrices at least
        raise InvalidFile(f"{_told(slots)} of up and down make no LoRA")
    if (up[1] != down[0]) if core is None else (up[1], down[0]) != core[:2]:
        raise InvalidFile(f"the ranks of up and down differ: {_told(slots)}")
    if core is not None and math.prod(down[2:]) != 1:
        raise InvalidFile(f"both mid and down have a kernel: {_told(slots)}")
    if not up[1]:
        raise InvalidFile(f"the rank is 0: {_told(slots)}")
    return up[1]


def _told(slots: Mapping[str, TensorRef]) -> str:
    return f"shapes {[list(slots[name].shape) for name in ('up', 'mid', 'down') if name in slots]}"


def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the weight: (out, in, *kernel)."""
    kernel = slots.get("mid", slots["down"]).shape[2:]
    return (slots["up"].shape[0], slots["down"].shape[1], *kernel)


def factors(layer: Layer) -> Factors:
    """Return down (r, in·kernel) and up (out, r) in float32."""
    import torch

    down = layer.slots["down"].torch(dtype=torch.float32)
    up = layer.slots["up"].torch(dtype=torch.float32).flatten(1)
    if "mid" in layer.slots:
        mid = layer.slots["mid"].torch(dtype=torch.float32)
        down = torch.einsum("mn...,ni->mi...", mid, down.flatten(1))
    return Factors(down.flatten(1), up)


def apply(weight: Tensor, layer: Layer) -> Tensor:
    """Return weight + delta in float32, in the weight's shape."""
    down, up = factors(layer)
    delta = (up @ down).reshape(weight.shape).to(weight.device)
    return weight.float() + layer.scale * delta


def build(made: Factors, shape: tuple[int, ...]) -> Layer:
    """Make a layer of scale 1 from float32 factors, for a weight of `shape`."""
    down = made.down.reshape(made.down.shape[0], *shape[1:])
    up = made.up.reshape(*made.up.shape, *(1 for _ in shape[2:]))
    return Layer(kind="lora", slots={"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)})


def tucker(up: Tensor, core: Tensor, down: Tensor) -> Layer:
    """Make a layer of scale 1 in Tucker form."""
    points = (1,) * (core.ndim - 2)
    slots = {"down": down.reshape(*down.shape, *points), "up": up.reshape(*up.shape, *points), "mid": core}
    return Layer(kind="lora", slots={slot: TensorRef.from_torch(tensor) for slot, tensor in slots.items()})


def join(parts: Sequence[Layer | None], rows: Sequence[int]) -> Layer:
    """Join unequal parts block-diagonally: up holds each part's rows in its own columns, down all of them.

    Ranks add up. Parts of another scale than the largest have the ratio folded into their up, which is kept in
    a wider dtype where it would be rounded; equal scales change no number.
    """
    parts = [part and _plain(part) for part in parts]
    present = [part for part in parts if part is not None]
    scale = max((part.scale for part in present), key=abs)
    ups = [None if part is None else scaled(part.slots["up"], part.scale / scale if scale else 1.0) for part in parts]
    downs = [part.slots["down"] for part in present]
    dtypes = {ref.dtype for ref in [*downs, *ups] if ref is not None}
    if len(dtypes) > 1:  # one file slot has one dtype: widen, which loses nothing
        wide = "F64" if "F64" in dtypes else "F32"
        ups = [ref and _widened(ref, wide) for ref in ups]
        downs = [_widened(ref, wide) for ref in downs]
    ranks = [ref.shape[1] if ref else 0 for ref in ups]
    starts = list(accumulate(ranks, initial=0))
    width = BITS[downs[0].dtype] // 8
    blocks = [
        b"".join(
            bytes(start * width)
            + data[row * own * width : (row + 1) * own * width]
            + bytes((starts[-1] - start - own) * width)
            for row in range(count)
        )
        for ref, count, start, own in zip(ups, rows, starts, ranks, strict=False)
        for data in [ref.tobytes() if ref else b""]
    ]
    kernel = next(ref.shape[2:] for ref in ups if ref is not None)
    up = from_bytes(downs[0].dtype, (sum(rows), starts[-1], *kernel), b"".join(blocks))
    return replace(present[0], slots={"down": TensorRef.cat(downs), "up": up}, scale=scale)


def unjoin(parts: Sequence[Layer]) -> Sequence[Layer | None] | None:
    """Undo `join`: keep in each part the ranks its own rows use; None where the parts share ranks.

    A fused file whose up is block-diagonal (sd-scripts' split_qkv, or a join by lorry) holds one small LoRA a
    part. Where a rank is used by two parts or by none, nothing is unjoined.
    """
    used = [_used_ranks(part.slots["up"]) for part in parts]
    if sum(map(len, used)) != parts[0].slots["up"].shape[1] or len(set().union(*used)) != sum(map(len, used)):
        return None
    return [_restricted(part, ranks) for part, ranks in zip(parts, used, strict=True)]


def _used_ranks(up: TensorRef) -> list[int]:
    """Return the columns with a bit that is not zero; on the bytes, so that renaming needs no torch."""
    data, ranks = up.tobytes(), up.shape[1]
    width = BITS[up.dtype] // 8
    row = ranks * width
    return [
        rank
        for rank in range(ranks)
        if any(data[at::row].strip(b"\0") for at in range(rank * width, (rank + 1) * width))
    ]


def _restricted(part: Layer, ranks: Sequence[int]) -> Layer | None:
    if not ranks:
        return None
    up, spans = part.slots["up"], _spans(ranks)
    flat = up.reshape(*up.shape[:2])
    blocks = [flat.cols(*span) for span in spans]
    # Row by row, since the columns kept of one row lie apart.
    rows = [block.rows(row, row + 1).reshape(block.shape[1]) for row in range(up.shape[0]) for block in blocks]
    columns = blocks[0] if len(blocks) == 1 else TensorRef.cat(rows)
    down = TensorRef.cat([part.slots["down"].rows(*span) for span in spans])
    return replace(part, slots={"down": down, "up": columns.reshape(up.shape[0], len(ranks), *up.shape[2:])})


def _plain(part: Layer) -> Layer:
    """Multiply a Tucker core out, since cores of several parts do not stand side by side."""
    if "mid" not in part.slots:
        return part
    require_torch("joining parts in Tucker form")
    return replace(part, slots=build(factors(part), target(part.slots)).slots)


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1] = spans[-1][0], number + 1
        else:
            spans.append((number, number + 1))
    return spans


def _widened(ref: TensorRef, dtype: str) -> TensorRef:
    require_torch("joining parts of unequal dtypes")
    import torch

    return TensorRef.from_torch(ref.torch(dtype=torch.float64 if dtype == "F64" else torch.float32))


def _read_turned(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    if not _turns(layer):
        raise InvalidFile(f"{_told(layer.slots)} of an embedding's factors, or their dtype, make no matrices")
    return _turned(layer)


def _write_turned(layer: Layer, facts: Mapping[str, Any]) -> Layer | None:  # noqa: ARG001  the shape of `Spelling.write`
    return _turned(layer) if _turns(layer) else None


def _turns(layer: Layer) -> bool:
    return all(len(ref.shape) == 2 and not BITS[ref.dtype] % 8 for ref in layer.slots.values())  # noqa: PLR2004  matrices


def _turned(layer: Layer) -> Layer:
    """Transpose both factors: peft keeps those of an embedding for its transposed weight (`get_delta_weight`)."""
    return replace(layer, slots={slot: ref.transpose() for slot, ref in layer.slots.items()})


LORA = Kind(
    name="lora",
    title="LoRA",
    spellings=(
        Spelling(
            family="kohya",
            slots={"lora_down.weight": "down", "lora_up.weight": "up", "lora_mid.weight": "mid", "alpha": "alpha"},
            optional=_OPTIONAL,
        ),
        Spelling(
            family="peft",
            slots={"lora_A.weight": "down", "lora_B.weight": "up", "alpha": "alpha"},
            optional=_OPTIONAL,
        ),
        # Of nn.Embedding, in peft src/peft/tuners/lora/layer.py: delta = scale · (B · A)ᵀ = scale · Aᵀ · Bᵀ.
        Spelling(
            family="peft-embedding",
            slots={"lora_embedding_A": "up", "lora_embedding_B": "down", "alpha": "alpha"},
            optional=_OPTIONAL,
            read=_read_turned,
            write=_write_turned,
        ),
        # Those that keep no scale: BFL's own code and fal, diffusers until 0.20 and XLabs, cloneofsimo.
        Spelling(family="peft-bare", slots={"lora_A.weight": "down", "lora_B.weight": "up"}),
        Spelling(family="processor", slots={"down.weight": "down", "up.weight": "up"}),
        Spelling(family="cloneofsimo", slots={"down": "down", "up": "up"}),
    ),
    apply=apply,
    factors=factors,
    rank=rank,
    target=target,
    row_slots=("up",),
    join=join,
    unjoin=unjoin,
    build=build,
    tucker=tucker,
    samples="lorry_plugins.adapters.samples:LORA",
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer LoRA: plain, weight-decomposed, and for a widened weight."""
    return [LORA, decomposed(LORA, "dora", "DoRA"), widened(LORA, "wide-lora", "LoRA for a widened weight")]
