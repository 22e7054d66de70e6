"""A tensor that has not been read yet: dtype, shape, and where its bytes lie.

Views (`rows`, `cols`, `reshape`, `cat`) move byte ranges about and never touch a byte; `torch` is the
only door to arithmetic and always hands out an owned copy. Nothing here imports torch or numpy.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from lorry.errors import InvalidArgument, MissingExtra
from lorry.ir.file_source import FileSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Width in bits of each dtype, by its safetensors name."""

_TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu", "C64": "complex64", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

_STRUCT_CODES = {
    "F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
    "U64": "Q", "U32": "I", "U16": "H", "U8": "B", "BOOL": "?",
}  # fmt: skip


class Source(Protocol):
    """Anything that yields bytes by range: a file, a member of an archive, memory."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`; raise InvalidFile where there are fewer."""


class MemorySource(NamedTuple):
    """Bytes held in memory."""

    data: bytes

    def __repr__(self) -> str:
        return f"MemorySource({len(self.data):,} bytes)"

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start`."""
        buffer[:] = self.data[start : start + len(buffer)]


class Segment(NamedTuple):
    """The bytes `start..stop` of one source."""

    source: Source
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor by reference: `segments` put end to end are its bytes, little-endian and row-major."""

    dtype: str
    shape: tuple[int, ...]
    segments: tuple[Segment, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.numel * BITS[self.dtype] // 8

    def rows(self, first: int, last: int) -> TensorRef:
        """View the slice `first..last` of the leading axis."""
        if not self.shape or not 0 <= first <= last <= self.shape[0]:
            raise InvalidArgument(f"rows {first}..{last} are not within shape {list(self.shape)}")
        row = self._span(self.numel // max(self.shape[0], 1))
        return replace(self, shape=(last - first, *self.shape[1:]), segments=self._cut(first * row, last * row))

    def cols(self, first: int, last: int) -> TensorRef:
        """View the slice `first..last` of the second axis: one byte range a row."""
        if len(self.shape) < 2 or not 0 <= first <= last <= self.shape[1]:  # noqa: PLR2004  columns need two axes
            raise InvalidArgument(f"columns {first}..{last} are not within shape {list(self.shape)}")
        inner = self._span(math.prod(self.shape[2:]))
        row = inner * self.shape[1]
        cuts = (self._cut(at * row + first * inner, at * row + last * inner) for at in range(self.shape[0]))
        shape = (self.shape[0], last - first, *self.shape[2:])
        return replace(self, shape=shape, segments=_join(piece for cut in cuts for piece in cut))

    def reshape(self, *shape: int) -> TensorRef:
        """View the same bytes in another shape of equal size."""
        if math.prod(shape) != self.numel:
            raise InvalidArgument(f"shape {list(self.shape)} cannot be viewed as {list(shape)}")
        return replace(self, shape=shape)

    def transpose(self) -> TensorRef:
        """View a matrix with its axes the other way round; held in memory while it is read."""
        if len(self.shape) != 2 or BITS[self.dtype] % 8:  # noqa: PLR2004  a matrix has two axes
            raise InvalidArgument(f"{self.dtype}{list(self.shape)} is no matrix to transpose")
        return TensorRef(self.dtype, self.shape[::-1], (Segment(_Transposed(self), 0, self.nbytes),))

    @staticmethod
    def cat(refs: Sequence[TensorRef]) -> TensorRef:
        """View several tensors of one dtype and one row shape as one, along the leading axis."""
        first = refs[0]
        if any(ref.dtype != first.dtype or ref.shape[1:] != first.shape[1:] for ref in refs):
            parts = ", ".join(f"{ref.dtype}{list(ref.shape)}" for ref in refs)
            raise InvalidArgument(f"cannot put {parts} end to end")
        rows = sum(ref.shape[0] for ref in refs)
        segments = _join(piece for ref in refs for piece in ref.segments)
        return TensorRef(first.dtype, (rows, *first.shape[1:]), segments)

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer`, `nbytes` long, with the tensor's bytes."""
        at = 0
        for source, start, stop in self.segments:
            source.read_into(start, buffer[at : at + stop - start])
            at += stop - start

    def tobytes(self) -> bytes:
        """Read all bytes."""
        data = bytearray(self.nbytes)
        self.read_into(memoryview(data))
        return bytes(data)

    def item(self, fill: Callable[[int, memoryview], None] | None = None) -> float:
        """Read the only element, as a Python number, without torch; `fill` is the `read_into` of its opened file."""
        if self.numel != 1:
            raise InvalidArgument(f"a single number was expected, not shape {list(self.shape)}")
        if fill is None:
            return decode_scalar(self.dtype, self.tobytes())
        data = bytearray(self.nbytes)
        fill(self.segments[0].start, memoryview(data))
        return decode_scalar(self.dtype, data)

    def same(self, other: TensorRef) -> bool:
        """Tell whether dtype, shape and bytes are equal; equal ranges of one source are not read."""
        if self.dtype != other.dtype or self.shape != other.shape:
            return False
        return self.segments == other.segments or self.tobytes() == other.tobytes()

    def torch(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Tensor:
        """Read into a torch tensor that owns its memory, on `device` and in `dtype` where given."""
        require_torch("reading tensor values")
        import torch

        own = torch_dtype(self.dtype)
        if not self.numel:
            return torch.empty(self.shape, dtype=dtype or own, device=device)
        data = bytearray(self.nbytes)
        self.read_into(memoryview(data))
        return torch.frombuffer(data, dtype=own).reshape(self.shape).to(device=device, dtype=dtype or own)

    @staticmethod
    def from_torch(tensor: Tensor) -> TensorRef:
        """Copy a torch tensor's values into a reference."""
        import torch

        flat = tensor.detach().to("cpu").contiguous()
        flat = flat.as_strided((flat.numel(),), (1,))  # reshape would keep the odd stride of a single element
        own = str(flat.dtype).removeprefix("torch.")
        dtype = next((key for key, value in _TORCH_NAMES.items() if value == own), None)
        if dtype is None:
            raise InvalidArgument(f"a tensor of {flat.dtype} cannot be kept; convert it to a plain dtype first")
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return from_bytes(dtype, tuple(tensor.shape), data)

    def _span(self, elements: int) -> int:
        bits = elements * BITS[self.dtype]
        if bits % 8:
            raise InvalidArgument(f"a slice of {self.dtype}{list(self.shape)} would cut a byte in two")
        return bits // 8

    def _cut(self, start: int, stop: int) -> tuple[Segment, ...]:
        found, at = [], 0
        for source, first, last in self.segments:
            low, high = max(start - at, 0), min(stop - at, last - first)
            if low < high:
                found.append(Segment(source, first + low, first + high))
            at += last - first
        return tuple(found)


class _Transposed(NamedTuple):
    """The bytes of a matrix, column after column."""

    ref: TensorRef

    def read_into(self, start: int, buffer: memoryview) -> None:
        rows, columns = self.ref.shape
        codes: dict[int, Literal["B", "H", "I", "Q"]] = {8: "B", 16: "H", 32: "I", 64: "Q"}
        data = memoryview(self.ref.tobytes()).cast(codes[BITS[self.ref.dtype]])
        turned = b"".join(data[column::columns].tobytes() for column in range(columns)) if rows else b""
        buffer[:] = turned[start : start + len(buffer)]


def opened(source: Source) -> AbstractContextManager[Callable[[int, memoryview], None]]:
    """Return a source's `read_into` for many small reads: a file is opened once for all of them."""
    return source.opened() if isinstance(source, FileSource) else nullcontext(source.read_into)


Read = Callable[[Source, int, memoryview], None]


@contextmanager
def reading() -> Iterator[Read]:
    """Yield what fills a buffer from a source; the file of one reading stays open for the next, if it is the same."""
    held: Source = MemorySource(b"")
    fill: Callable[[int, memoryview], None] = held.read_into
    with ExitStack() as stack:

        def read(source: Source, start: int, buffer: memoryview) -> None:
            nonlocal held, fill
            if source is not held:
                stack.close()
                held, fill = source, stack.enter_context(opened(source))
            fill(start, buffer)

        yield read


def scalars(refs: Iterable[TensorRef]) -> list[float | InvalidArgument]:
    """Return what `item` gives for each of many tensors, or the error; their file is opened once for neighbours."""
    found: list[float | InvalidArgument] = []
    for source, group in groupby(refs, key=lambda ref: ref.segments[0].source if len(ref.segments) == 1 else None):
        with opened(source) if source else nullcontext() as fill:
            for ref in group:
                try:
                    found.append(ref.item(fill))
                except InvalidArgument as error:
                    found.append(error)
    return found


def from_bytes(dtype: str, shape: tuple[int, ...], data: bytes) -> TensorRef:
    """Hold bytes in memory as a tensor."""
    return TensorRef(dtype, shape, (Segment(MemorySource(data), 0, len(data)),) if data else ())


def from_scalar(value: float, dtype: str = "F32", shape: tuple[int, ...] = ()) -> TensorRef:
    """Hold one number as a tensor of `dtype`; F8 and other narrow dtypes are refused."""
    return from_bytes(dtype, shape, encode_scalar(dtype, value))


def zeros(dtype: str, shape: tuple[int, ...]) -> TensorRef:
    """Hold a tensor of zeros; F8_E8M0, which has none, is refused."""
    if dtype == "F8_E8M0":
        raise InvalidArgument("F8_E8M0 has no zero; all other dtypes spell it with zero bits")
    return from_bytes(dtype, shape, bytes(math.prod(shape) * BITS[dtype] // 8))


def decode_scalar(dtype: str, data: bytes | bytearray) -> float:
    """Decode one number of `dtype` from its little-endian bytes."""
    if dtype == "BF16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    if dtype in ("F8_E4M3", "F8_E5M2"):
        return _decode_float8(data[0], mantissa=3 if dtype == "F8_E4M3" else 2)
    if dtype in _STRUCT_CODES:
        return float(struct.unpack("<" + _STRUCT_CODES[dtype], data)[0])
    raise InvalidArgument(f"a single number of dtype {dtype} cannot be read")


def encode_scalar(dtype: str, value: float) -> bytes:
    """Encode one number as little-endian bytes of `dtype`, rounding to nearest even.

    Raises InvalidArgument for a number that `dtype` cannot hold, and for F8 and other narrow dtypes.
    """
    with suppress(OverflowError, ValueError, struct.error):  # too large, or not finite where an integer is wanted
        if dtype == "BF16":
            (bits,) = struct.unpack("<I", struct.pack("<f", value))
            return struct.pack("<H", 0x7FC0 if math.isnan(value) else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
        if dtype in ("F64", "F32", "F16"):
            return struct.pack("<" + _STRUCT_CODES[dtype], value)
        if dtype == "BOOL" and value in (0, 1):
            return bytes([int(value)])
        if dtype in _STRUCT_CODES and dtype != "BOOL" and value == int(value):
            return struct.pack("<" + _STRUCT_CODES[dtype], int(value))
    raise InvalidArgument(f"{value} cannot be written as {dtype}")


def require_torch(what: str) -> None:
    """Make sure that torch can be imported, or say what needs it and how to install it."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(what, "torch", "torch")


def torch_dtype(dtype: str) -> torch.dtype:
    """Return what torch calls a dtype; raise InvalidArgument where it has none."""
    import torch

    if dtype not in _TORCH_NAMES:
        raise InvalidArgument(f"torch has no dtype for {dtype}")
    found: torch.dtype = getattr(torch, _TORCH_NAMES[dtype])
    return found


def _decode_float8(byte: int, mantissa: int) -> float:
    """Decode F8_E4M3 (bias 7) or F8_E5M2 (bias 15): OCP 8-bit Floating Point Specification 1.0, section 5."""
    exponent_bits = 7 - mantissa
    bias = (1 << exponent_bits - 1) - 1
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, fraction = (byte & 0x7F) >> mantissa, byte & (1 << mantissa) - 1
    if mantissa == 3 and byte & 0x7F == 0x7F:  # noqa: PLR2004  the only NaN of E4M3
        return math.nan
    if mantissa == 2 and exponent == 31:  # noqa: PLR2004  unlike E4M3, keeps IEEE infinities and NaNs
        return math.nan if fraction else sign * math.inf
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias - mantissa)
    return sign * math.ldexp(fraction | 1 << mantissa, exponent - bias - mantissa)


def _join(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if last and last.source is segment.source and last.stop == segment.start:
            joined[-1] = Segment(last.source, last.start, segment.stop)
        elif segment.start < segment.stop:
            joined.append(segment)
    return tuple(joined)
