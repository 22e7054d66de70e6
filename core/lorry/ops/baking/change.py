"""What layers do to one tensor: W' = W + Σ tᵢ (applyᵢ(W) - W), in float32 whatever its dtype, rounded once.

Layers that are up times down are added by rows, all of them in one product, a tile at a time; other kinds are given
the whole weight. A number that is finite stays so, or nothing is written: not-a-number in an adapter, and values
that the dtype cannot hold, are errors.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lorry.errors import Incompatible, InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.tensor import BITS, Segment, TensorRef, torch_dtype
from lorry.ops.judging.finite import finite
from lorry.plugin.host import Host
from lorry.plugin.kind import Factors, Kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TILE = 1 << 20
"""Numbers computed at a time on a CPU: 4 MiB in float32, which stay in the cache of a core."""

_WHOLE = threading.Lock()
"""Held while a whole weight is computed: two at once would take twice the memory."""


@dataclass(frozen=True, slots=True)
class Change:
    """The layers, with their strengths, that change one tensor; without any, it is only rounded.

    `name` is the tensor's, for messages; `device` is where the arithmetic is done.
    """

    name: str
    layers: Sequence[tuple[Layer, float]]
    plugins: Host = field(repr=False)
    device: str = "cpu"

    def factors(self) -> Factors | None:
        """Return one down and one up that do what all layers do, their scales and strengths in up.

        Both are float32 on the device. None where a layer has no factors, or where there are no layers.
        """
        import torch

        downs: list[Tensor] = []
        ups: list[Tensor] = []
        for layer, strength in self.layers:
            made = self._kind(layer).factors
            if made is None:
                return None
            down, up = made(layer)
            downs.append(down)
            ups.append(up * (strength * layer.scale))
        if not downs:
            return None
        return Factors(torch.cat(downs).to(self.device), torch.cat(ups, dim=1).to(self.device))

    def add_rows(self, weight: Tensor, out: Tensor, factors: Factors | None, first: int = 0) -> None:
        """Write to `out` what becomes of rows of the weight, of which `first` is the first one.

        weight and out: (rows, in·kernel), in any dtypes; they may be the same memory.
        """
        import torch

        columns = weight.shape[1]
        step = max(1, _TILE // max(columns, 1)) if self.device == "cpu" else max(len(weight), 1)
        wide = torch.empty(min(step, len(weight)), columns, device=self.device, dtype=_wide(weight))
        for at in range(0, len(weight), step):
            part = weight[at : at + step]
            tile = wide[: len(part)]
            tile.copy_(part)
            if factors is not None:
                up = factors.up[first + at : first + at + len(part)]
                tile.addmm_(up.to(tile.dtype), factors.down.to(tile.dtype))
            self._check(tile, part, out.dtype)
            out[at : at + step].copy_(tile)

    def whole(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the changed weight in `dtype`, on the device; a kind may have given it another shape."""
        pristine = weight.to(self.device, _wide(weight))
        total = pristine.clone()
        for layer, strength in sorted(self.layers, key=lambda each: self._kind(each[0]).changes_shape):
            kind = self._kind(layer)
            if kind.factors is not None:
                down, up = kind.factors(layer)
                total.view(up.shape[0], -1).addmm_(up.to(total), down.to(total), alpha=strength * layer.scale)
            elif kind.apply is not None:
                changed = kind.apply(pristine, layer)
                total = added(total, strength * (changed - widened(pristine, changed.shape)))
            else:
                raise Incompatible(f"{kind.title}, at {self.name}, changes no weight")
        self._check(total, widened(pristine, total.shape), dtype)
        return total.to(dtype)

    def ref(self, weight: TensorRef, dtype: str) -> TensorRef:
        """Return the changed tensor, of the same shape, as one that is computed when it is read."""
        empty = TensorRef(dtype, weight.shape, ())
        if not empty.nbytes:
            return empty
        return TensorRef(dtype, weight.shape, (Segment(_ChangedBytes(self, weight, dtype), 0, empty.nbytes),))

    def _kind(self, layer: Layer) -> Kind:
        kind: Kind = self.plugins.get("kinds", layer.kind)
        return kind

    def _check(self, tile: Tensor, weight: Tensor, dtype: torch.dtype) -> None:
        """Raise where a finite number of the weight would be one no more in `dtype`; NaN compares as false."""
        import torch

        limit = torch.finfo(dtype).max
        low, high = torch.aminmax(tile) if tile.numel() else (0.0, 0.0)
        if low >= -limit and high <= limit:
            return
        spoilt = tile.abs().le(limit).logical_not() & weight.to(tile).isfinite()
        if not bool(spoilt.any()):
            return
        for layer, strength in self.layers:
            if not all(map(finite, layer.slots.values())) or not math.isfinite(strength * layer.scale):
                raise InvalidFile(
                    f"the {layer.kind} layer for {self.name} holds NaN or infinity, and would spoil the base; "
                    "lorry validate tells what is wrong with the adapter"
                )
        reached = float(tile[spoilt].abs().max())
        raise Incompatible(
            f"{self.name} would reach {reached:.3g}, and {str(dtype).removeprefix('torch.')} ends at {limit:.3g}; "
            "choose BF16 or F32 (--dtype), or a lower strength"
        )


class _ChangedBytes:
    """Bytes of a changed tensor, computed as they are read: by rows where its layers have factors, else whole.

    What that takes (the factors, or the whole tensor) is held until every byte has been read. A product of other rows
    may round its last bit otherwise, so equal bytes want equal ranges.
    """

    def __init__(self, change: Change, weight: TensorRef, dtype: str) -> None:
        rows = weight.shape[0] if weight.shape else 1
        self._change, self._dtype = change, dtype
        self._weight = weight.reshape(rows, weight.numel // rows)
        self._shape = weight.shape
        self._row = self._weight.shape[1] * BITS[dtype] // 8
        self._lock = threading.Lock()
        self._factors: Factors | None = None
        self._whole: memoryview | None = None
        self._left = 0

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`."""
        with self._lock:
            if not self._left:
                self._prepare()
            factors, whole = self._factors, self._whole
        if whole is not None:
            buffer[:] = whole[start : start + len(buffer)]
        else:
            self._fill(start, buffer, factors)
        with self._lock:
            self._left -= len(buffer)
            if self._left <= 0:
                self._left, self._factors, self._whole = 0, None, None

    def _prepare(self) -> None:
        self._factors = self._change.factors()
        if self._factors is None and self._change.layers:
            with _WHOLE:
                weight = self._weight.reshape(*self._shape).torch()
                total = self._change.whole(weight, torch_dtype(self._dtype))
                if total.shape != weight.shape:
                    raise Incompatible(
                        f"the adapter makes {self._change.name} {list(total.shape)} instead of {list(self._shape)}, "
                        "which the base's configuration would contradict; use the tensors, without writing them as "
                        "that base"
                    )
                self._whole = memoryview(TensorRef.from_torch(total).tobytes())
        self._left = self._weight.shape[0] * self._row

    def _fill(self, start: int, buffer: memoryview, factors: Factors | None) -> None:
        """Compute whole rows in place, and those that the range cuts beside it."""
        stop, row = start + len(buffer), self._row
        first, last = -(-start // row), stop // row
        if first >= last:
            self._cut(start, buffer, factors)
            return
        self._cut(start, buffer[: first * row - start], factors)
        self._rows(first, last, buffer[first * row - start : last * row - start], factors)
        self._cut(last * row, buffer[last * row - start :], factors)

    def _cut(self, start: int, buffer: memoryview, factors: Factors | None) -> None:
        if buffer:
            first, last = start // self._row, -(-(start + len(buffer)) // self._row)
            whole = memoryview(bytearray((last - first) * self._row))
            self._rows(first, last, whole, factors)
            buffer[:] = whole[start - first * self._row :][: len(buffer)]

    def _rows(self, first: int, last: int, buffer: memoryview, factors: Factors | None) -> None:
        import torch

        rows = self._weight.rows(first, last)
        out = torch.frombuffer(buffer, dtype=torch_dtype(self._dtype)).view(rows.shape)
        if self._dtype == self._weight.dtype:
            rows.read_into(buffer)
            weight = out
        else:
            weight = rows.torch()
        self._change.add_rows(weight, out, factors, first)


def widened(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the tensor within zeros of a larger shape; a tensor of that shape is returned as it is."""
    if tensor.shape == shape:
        return tensor
    wide = tensor.new_zeros(shape)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide


def added(one: Tensor, two: Tensor) -> Tensor:
    """Return the sum of two tensors, each within zeros where the other is larger."""
    shape = [max(sizes) for sizes in zip(one.shape, two.shape, strict=True)]
    return widened(one, shape) + widened(two, shape)


def _wide(weight: Tensor) -> torch.dtype:
    import torch

    return torch.float64 if weight.dtype == torch.float64 else torch.float32
