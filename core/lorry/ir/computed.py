"""Tensors that are computed when they are read, so that nothing large is held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from lorry.ir.tensor import Segment, TensorRef

if TYPE_CHECKING:
    from torch import Tensor


def computed(shape: tuple[int, ...], compute: Callable[[], Tensor]) -> TensorRef:
    """Return a float32 tensor whose numbers `compute` gives, the same ones each time it is called."""
    ref = TensorRef("F32", shape, ())
    return TensorRef("F32", shape, (Segment(_Computed(compute, ref.nbytes), 0, ref.nbytes),) if ref.numel else ())


class _Computed:
    """The bytes of a tensor, held from the first byte that is read to the last: writers read piece by piece."""

    def __init__(self, compute: Callable[[], Tensor], size: int) -> None:
        self._compute, self._size = compute, size
        self._held: bytes | None = None
        self._lock = threading.Lock()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`."""
        import torch

        with self._lock:
            data = self._held
            if data is None:
                data = TensorRef.from_torch(self._compute().to(torch.float32)).tobytes()
            stop = start + len(buffer)
            buffer[:] = data[start:stop]
            self._held = None if stop == self._size else data
