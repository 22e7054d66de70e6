"""Tensors as torch stores them: a view, with offset and strides, of a storage that lies in the file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeGuard

from lorry.ir.tensor import BITS, Segment, Source, TensorRef
from lorry_plugins.formats.ckpt.opcodes import Global, Refused, describe

AXES_LIMIT = 64
"""Axes of a tensor, as in torch."""

STORAGES = {
    "torch.DoubleStorage": "F64", "torch.FloatStorage": "F32", "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16", "torch.ComplexFloatStorage": "C64", "torch.LongStorage": "I64",
    "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL", "torch.storage.UntypedStorage": "U8",
}  # fmt: skip
"""dtype of each storage class."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The bytes `start..start+nbytes` of a source, all of one dtype."""

    dtype: str
    source: Source
    start: int
    nbytes: int


class Pointer(NamedTuple):
    """What a persistent id says of a storage."""

    dtype: str
    key: str
    nbytes: int


def read_pointer(value: object) -> Pointer:
    """Read ("storage", class, key, device, number of elements, view of it or None): the device does not matter."""
    if type(value) is not tuple or len(value) not in (5, 6) or value[0] != "storage" or value[5:] not in ((), (None,)):
        raise Refused("it points to something that is no storage of a tensor")
    _, kind, key, _, count, *_ = value
    if not isinstance(kind, Global) or kind.name not in STORAGES:
        raise Refused(f"it keeps a tensor's bytes in {describe(kind)}")
    dtype = STORAGES[kind.name]
    if type(key) is str and is_count(count):
        return Pointer(dtype, key, count * BITS[dtype] // 8)
    raise Refused("it points to a storage without a plain key and size")


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether this is an integer from 0 to 2**63; True and False are none."""
    return type(value) is int and 0 <= value < 1 << 63


def view(storage: object, dtype: str | None, offset: Any, shape: Any, strides: Any) -> TensorRef:  # noqa: ANN401  whatever the file says
    """Make a tensor of a storage, all numbers in elements; `dtype` is the storage's own where None.

    Raises Refused where it would reach beyond its storage, or repeat elements to seem larger than that is.
    """
    if not isinstance(storage, Storage):
        raise Refused(f"it makes a tensor of {describe(storage)}")
    if not isinstance(shape, (tuple, list)) or not isinstance(strides, (tuple, list)) or len(shape) != len(strides):
        raise Refused("it makes a tensor whose shape and strides are not lists of equal length")
    if not is_count(offset) or len(shape) > AXES_LIMIT or not all(map(is_count, (*shape, *strides))):
        raise Refused("it makes a tensor with a shape, strides or offset that are not plain counts")
    dtype = dtype or storage.dtype
    width = BITS[dtype] // 8
    room, numel = storage.nbytes // width, math.prod(shape)
    if not numel:
        return TensorRef(dtype, tuple(shape), ())
    end = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    if end > room or numel > room:
        raise Refused(f"it makes a tensor of {max(end, numel):,} elements from a storage that has {room:,}")
    start = storage.start + offset * width
    axes = _simplify(shape, strides)
    if any(axis.stride == 0 for axis in axes):
        raise Refused("it makes a tensor that repeats the elements of its storage")
    if axes in ([], [Axis(numel, 1)]):
        return TensorRef(dtype, tuple(shape), (Segment(storage.source, start, start + numel * width),))
    source = Strided(storage.source, start, storage.start + end * width, width, tuple(axes))
    return TensorRef(dtype, tuple(shape), (Segment(source, 0, numel * width),))


@dataclass(frozen=True, slots=True)
class Strided:
    """The elements of `source[start:stop]`, each `width` bytes, picked along `axes` into row-major order.

    Nothing is read before it is asked for. Who asks for a part, asks again: then the whole is kept.
    """

    source: Source
    start: int
    stop: int
    width: int
    axes: tuple[Axis, ...]
    _kept: list[bytearray] = field(default_factory=list, compare=False, repr=False)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` of the row-major order."""
        nbytes = math.prod(axis.size for axis in self.axes) * self.width
        if (start, len(buffer)) == (0, nbytes):
            self._gather(buffer)
            return
        if not self._kept:
            whole = bytearray(nbytes)
            self._gather(memoryview(whole))
            self._kept.append(whole)
        buffer[:] = memoryview(self._kept[0])[start : start + len(buffer)]

    def _gather(self, buffer: memoryview) -> None:
        """Copy line by line along the longest axis, by strided slices on both sides."""
        stored = memoryview(bytearray(self.stop - self.start))
        self.source.read_into(self.start, stored)
        letters: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
        taken, given = stored.cast(letters[self.width]), buffer.cast(letters[self.width])
        steps = [math.prod(axis.size for axis in self.axes[at + 1 :]) for at in range(len(self.axes))]
        along = max(range(len(self.axes)), key=lambda at: self.axes[at].size)
        (size, stride), step = self.axes[along], steps[along]
        others = [(axis, steps[at]) for at, axis in enumerate(self.axes) if at != along]
        for index in itertools.product(*(range(axis.size) for axis, _ in others)):
            first = sum(at * axis.stride for at, (axis, _) in zip(index, others, strict=True))
            put = sum(at * each for at, (_, each) in zip(index, others, strict=True))
            given[put : put + (size - 1) * step + 1 : step] = taken[first : first + (size - 1) * stride + 1 : stride]


class Axis(NamedTuple):
    """Size of an axis and the step from one element to the next, in elements."""

    size: int
    stride: int


def _simplify(shape: Sequence[int], strides: Sequence[int]) -> list[Axis]:
    """Leave axes of one element out and join axes that run on into each other."""
    axes: list[Axis] = []
    for size, stride in zip(shape, strides, strict=True):
        if axes and axes[-1].stride == size * stride:
            axes[-1] = Axis(axes[-1].size * size, stride)
        elif size > 1:
            axes.append(Axis(size, stride))
    return axes
