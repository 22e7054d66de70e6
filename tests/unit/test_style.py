"""The choices of a file, told in a header that may be a stranger's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorry.ops.writing.style import Style, from_text, to_text

WORDS = st.text(max_size=8)
STYLES = st.builds(
    Style,
    dialect=WORDS,
    naming=st.dictionaries(WORDS, st.tuples(WORDS, WORDS), max_size=2),
    alpha=st.dictionaries(WORDS, WORDS, max_size=2),
    alpha_shape=st.sampled_from([(), (1,), (1, 1)]),
    metadata=st.lists(WORDS, max_size=3).map(tuple),
    header=st.dictionaries(WORDS, WORDS, max_size=2),
    sides=st.dictionaries(WORDS, WORDS, max_size=2),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
)
WHOLE: dict[str, Any] = json.loads(to_text(Style(dialect="kohya")))


@given(style=STYLES)
def test_a_style_reads_back_as_it_was_written(style: Style) -> None:
    assert from_text(to_text(style)) == style


@given(text=st.text() | JSON.map(json.dumps))
def test_what_is_no_style_is_none(text: str) -> None:
    assert from_text(text) is None


@given(name=st.sampled_from(sorted(WHOLE)), value=JSON)
def test_a_style_with_a_strange_field_is_read_or_none_but_never_an_error(name: str, value: object) -> None:
    found = from_text(json.dumps({**WHOLE, name: value}))
    assert found is None or found.alpha_shape in {(), (1,) * len(found.alpha_shape)}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({**WHOLE, "alpha_shape": [1000]}),
        json.dumps({**WHOLE, "alpha_shape": [0]}),
        json.dumps({**WHOLE, "alpha_shape": [float("inf")]}),
        json.dumps({**WHOLE, "naming": {"unet": ["lora_unet"]}}),
        json.dumps({name: value for name, value in WHOLE.items() if name != "dialect"}),
    ],
)
def test_a_strangers_style_is_none(text: str) -> None:
    assert from_text(text) is None
