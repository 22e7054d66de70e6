"""Canonical JSON: the one way to write a value down, so that its hash can be its identity (RFC 8785, JCS)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lorry.errors import InvalidArgument

_SAFE_INTEGER = 2**53 - 1
_FIXED_BELOW = 21
_FIXED_FROM = -6


def dump(value: Any) -> bytes:  # noqa: ANN401  any JSON value
    """Write a value in canonical form, UTF-8.

    Raises InvalidArgument for what JSON cannot carry from one machine to another: NaN and infinities,
    integers beyond 2^53, names that are not text, text that is not Unicode.
    """
    try:
        return _write(value).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"text with lone surrogates cannot be written as JSON: {error.object[:40]!r}") from error


def load(data: bytes) -> Any:  # noqa: ANN401  any JSON value
    """Read a value from its canonical form; raise InvalidArgument for any other form of it."""
    try:
        value = json.loads(data, parse_int=_integer)
        canonical = dump(value) == data
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from error
    if not canonical:
        raise InvalidArgument("JSON, but not in its canonical form (RFC 8785): keys twice or unsorted, or blanks")
    return value


def _write(value: Any) -> str:  # noqa: ANN401  any JSON value
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > _SAFE_INTEGER:
                raise InvalidArgument(f"{value} is beyond 2^53, where JSON readers round integers; write it as text")
            return str(value)
        case float():
            return _number(value)
        case list() | tuple():
            return f"[{','.join(map(_write, value))}]"
        case Mapping():
            return f"{{{','.join(f'{_write(key)}:{_write(value[key])}' for key in sorted(value, key=_order))}}}"
    raise InvalidArgument(f"{type(value).__name__} cannot be written as JSON")


def _order(key: Any) -> bytes:  # noqa: ANN401  checked here
    """Sort names by their UTF-16 code units (RFC 8785, section 3.2.3)."""
    if not isinstance(key, str):
        raise InvalidArgument(f"{key!r} cannot be a name in JSON; use text")
    return key.encode("utf-16-be", "surrogatepass")


def _integer(text: str) -> int | float:
    """Read a number without a point; one beyond 2^53 can only have been a double."""
    value = int(text)
    return value if abs(value) <= _SAFE_INTEGER else float(text)


def _number(value: float) -> str:
    """Write a double as ECMAScript does (RFC 8785, section 3.2.2.3): Python finds the same shortest digits."""
    if not math.isfinite(value):
        raise InvalidArgument(f"{value} cannot be written as JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _FIXED_BELOW:
        return f"{sign}{digits.ljust(point, '0')}"
    if 0 < point <= _FIXED_BELOW:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _FIXED_FROM < point <= 0:
        return f"{sign}0.{digits.rjust(len(digits) - point, '0')}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"
