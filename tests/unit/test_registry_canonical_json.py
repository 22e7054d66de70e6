from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorry.errors import InvalidArgument
from lorry_registry.version import canonical_json

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


@given(values)
def test_what_is_written_reads_back_as_the_same_value(value: Any) -> None:
    assert canonical_json.load(canonical_json.dump(value)) == value


@given(st.dictionaries(text, leaves, max_size=6))
def test_the_order_of_names_does_not_matter(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json.dump(turned) == canonical_json.dump(value)


# RFC 8785, appendix B: the bits of a double, and how ECMAScript writes it.
APPENDIX_B = """
0000000000000000 0
8000000000000000 0
0000000000000001 5e-324
8000000000000001 -5e-324
7fefffffffffffff 1.7976931348623157e+308
ffefffffffffffff -1.7976931348623157e+308
4340000000000000 9007199254740992
c340000000000000 -9007199254740992
4430000000000000 295147905179352830000
44b52d02c7e14af5 9.999999999999997e+22
44b52d02c7e14af6 1e+23
44b52d02c7e14af7 1.0000000000000001e+23
444b1ae4d6e2ef4e 999999999999999700000
444b1ae4d6e2ef4f 999999999999999900000
444b1ae4d6e2ef50 1e+21
3eb0c6f7a0b5ed8c 9.999999999999997e-7
3eb0c6f7a0b5ed8d 0.000001
41b3de4355555553 333333333.3333332
41b3de4355555554 333333333.33333325
41b3de4355555555 333333333.3333333
41b3de4355555556 333333333.3333334
41b3de4355555557 333333333.33333343
becbf647612f3696 -0.0000033333333333333333
43143ff3c1cb0959 1424953923781206.2
"""


@pytest.mark.parametrize(("bits", "written"), [line.split() for line in APPENDIX_B.strip().splitlines()])
def test_numbers_are_written_as_the_rfc_says(bits: str, written: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json.dump(value).decode() == written


def test_names_are_sorted_by_utf_16_units_as_in_section_3_2_3() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    expected = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(canonical_json.load(canonical_json.dump(dict.fromkeys(names, 0)))) == expected


def test_text_is_written_as_in_section_3_2_2() -> None:
    assert (
        canonical_json.dump("\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/").decode() == r'''"€$\u000f\nA'B\"\\\\\"/"'''
    )


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, {1: 2}, b"bytes", "\ud800", {"\ud800": 1}, {"a": {1, 2}}], ids=repr
)
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        canonical_json.dump(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}', b'{"b":1,"a":2}', b'{"a": 1}', b"1.0", b"NaN", b"[1,]", b"", b"\xff", b'"\\u0041"',
        b"[" * 99_999,
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        canonical_json.load(data)
