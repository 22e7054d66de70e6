"""Memory that tensors are read into again and again: new pages from the system cost as much as reading does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lorry.ir.tensor import TensorRef

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Scratch:
    """Tensors in memory of its own by name; one is valid until the next of the same name is asked for."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of any numbers."""
        import torch

        count = torch.Size(shape).numel() * dtype.itemsize
        held = self._held.get(name)
        if held is None or held.numel() < count:
            held = self._held[name] = torch.empty(count, dtype=torch.uint8)
        return held[:count].view(dtype).view(shape)

    def read(self, name: str, ref: TensorRef) -> Tensor:
        """Read a tensor in the dtype it is stored in."""
        import torch

        tensor = self.empty(name, ref.shape, TensorRef(ref.dtype, (0,), ()).torch().dtype)
        octets: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        ref.read_into(memoryview(octets))
        return tensor
