"""One tensor of a weight file and our tensors in it: cut on the way in, joined on the way out, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lorry.errors import InvalidFile
from lorry.ir.tensor import TensorRef
from lorry.ops.reading.names import Target
from lorry.ops.writing.views import bounds, flip

_LINEAR, _CONVOLUTION = 2, 4


class Stored(NamedTuple):
    """What one key of a weight file holds: our tensors by name ("component.module.param"), and how they lie in it."""

    names: tuple[str, ...]
    target: Target

    def cut(self, ref: TensorRef) -> tuple[TensorRef, ...]:
        """Return our tensors; raise InvalidFile where the rows do not divide into them."""
        target = self.target
        shares = (1, 1) if target.flip else target.rows
        if len(shares) > 1 and (not ref.shape or ref.shape[0] % sum(shares)):
            raise InvalidFile(
                f"{target.name}: shape {list(ref.shape)} does not divide into rows of {':'.join(map(str, shares))}"
            )
        if target.transposed and len(ref.shape) == _LINEAR:
            ref = ref.transpose()
        if target.conv and len(ref.shape) == _CONVOLUTION:
            ref = ref.reshape(*ref.shape[:2])
        if target.flip:
            ref = flip(ref)
        if len(self.names) == 1:
            return (ref,)
        return tuple(ref.rows(*each) for each in bounds(ref.shape[0], target.rows))

    def join(self, refs: Sequence[TensorRef]) -> TensorRef:
        """Return what the file holds for our tensors: `cut` undone."""
        target = self.target
        ref = refs[0] if len(refs) == 1 else TensorRef.cat(refs)
        if target.flip:
            ref = flip(ref)
        if target.conv and len(ref.shape) == _LINEAR:
            ref = ref.reshape(*ref.shape, 1, 1)
        return ref.transpose() if target.transposed and len(ref.shape) == _LINEAR else ref
