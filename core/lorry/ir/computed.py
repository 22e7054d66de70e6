"""Tensors that are computed when they are read, so that nothing large is held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from lorry.ir.tensor import Segment, TensorRef

if TYPE_CHECKING:
    from torch import Tensor


def computed(shape: tuple[int, ...], compute: Callable[[], Tensor], dtype: str = "F32") -> TensorRef:
    """Return a tensor whose numbers `compute` gives, the same ones each time it is called, rounded to `dtype`."""
    ref = TensorRef(dtype, shape, ())
    return TensorRef(dtype, shape, (Segment(_Computed(compute, ref), 0, ref.nbytes),) if ref.numel else ())


class _Computed:
    """The bytes of a tensor, held from the first byte that is read to the last: writers read piece by piece."""

    def __init__(self, compute: Callable[[], Tensor], ref: TensorRef) -> None:
        self._compute, self._ref = compute, ref
        self._held: bytes | None = None
        self._lock = threading.Lock()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`."""
        with self._lock:
            data = self._held
            if data is None:
                data = self._all()
            stop = start + len(buffer)
            buffer[:] = data[start:stop]
            self._held = None if stop == self._ref.nbytes else data

    def _all(self) -> bytes:
        dtype = TensorRef(self._ref.dtype, (0,), ()).torch().dtype
        return TensorRef.from_torch(self._compute().to(dtype)).tobytes()
