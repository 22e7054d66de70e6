"""Finding NaN and infinity in a tensor's bytes, without torch: half a nanosecond a byte, in pieces of a mebibyte.

A float is not finite where every bit of its exponent is set (IEEE 754-2019, section 3.4; in F8_E4M3, the OCP 8-bit
Floating Point Specification 1.0, only where every bit but the sign is). Then adding one to the exponent's lowest bit
carries into the sign's place, whatever stood there having been masked out: for all numbers of a piece at once, held as
one large integer. That is done only for pieces in which some number's highest byte could belong to such an exponent,
which is quicker to tell: most weights are far from the largest numbers of their dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from lorry.ir.tensor import Read, TensorRef, reading

_PIECE = 1 << 20
_WHOLE = 64 << 20
"""Tensors up to this size are read at once: one stored transposed is put in order for every reading."""

_FORMS = {
    "F64": (64, 0x7FF0_0000_0000_0000, 0x0010_0000_0000_0000),
    "F32": (32, 0x7F80_0000, 0x0080_0000),
    "C64": (32, 0x7F80_0000, 0x0080_0000),
    "F16": (16, 0x7C00, 0x0400),
    "BF16": (16, 0x7F80, 0x0080),
    "F8_E5M2": (8, 0x7C, 0x04),
    "F8_E4M3": (8, 0x7F, 0x01),
}
"""Width in bits, the bits that are all set in what is not finite, and the lowest of them."""

_NAN_BYTES = {"F8_E4M3FNUZ": b"\x80", "F8_E5M2FNUZ": b"\x80", "F8_E8M0": b"\xff"}
"""The one byte that is NaN, in dtypes that have no infinity."""


class _Masks(NamedTuple):
    exponents: int
    ones: int
    signs: int


def finite(ref: TensorRef, read: Read | None = None) -> bool:
    """Tell whether no number of a tensor is NaN or infinite; those of integer dtypes never are.

    `read` is that of `lorry.ir.tensor.reading`, for many tensors of one file.
    """
    if read is None:
        with reading() as own:
            return finite(ref, own)
    if ref.dtype in _NAN_BYTES:
        return not any(_NAN_BYTES[ref.dtype] in piece for piece in _pieces(ref, read))
    if ref.dtype not in _FORMS:
        return True
    nbytes, table = _highest(ref.dtype)
    for piece in _pieces(ref, read):
        if 1 not in piece[nbytes - 1 :: nbytes].translate(table):
            continue
        masks = _masks(ref.dtype, (len(piece) - 1).bit_length())
        numbers = int.from_bytes(piece, "little")
        if ((numbers & masks.exponents) + masks.ones) & masks.signs:
            return False
    return True


@cache
def _highest(dtype: str) -> tuple[int, bytes]:
    """Return the bytes of a number, and a table of those that are 1 for a highest byte that NaN or infinity has."""
    width, exponent, _ = _FORMS[dtype]
    bits = exponent >> width - 8
    return width // 8, bytes(byte & bits == bits for byte in range(256))


@cache
def _masks(dtype: str, size: int) -> _Masks:
    """Return the masks for pieces of up to 2**size bytes."""
    width, exponent, lowest = _FORMS[dtype]
    nbytes = width // 8
    count = max(1, (1 << size) // nbytes)
    return _Masks(
        *(
            int.from_bytes(bits.to_bytes(nbytes, "little") * count, "little")
            for bits in (exponent, lowest, 1 << width - 1)
        )
    )


def _pieces(ref: TensorRef, read: Read) -> Iterator[bytearray]:
    if ref.nbytes <= _WHOLE:
        data, at = bytearray(ref.nbytes), 0
        for source, start, stop in ref.segments:
            read(source, start, memoryview(data)[at : at + stop - start])
            at += stop - start
        if len(data) <= _PIECE:  # most are: no copy
            yield data
            return
        yield from (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        return
    for source, start, stop in ref.segments:
        for at in range(start, stop, _PIECE):
            piece = bytearray(min(_PIECE, stop - at))
            read(source, at, memoryview(piece))
            yield piece
