"""Text and JSON from outside, made fit for PostgreSQL."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import clean, storable

any_text = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF))  # lone surrogates included
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=20,
)


@given(any_text)
def test_cleaned_text_has_no_nul_and_is_valid_unicode(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")


@given(st.text())
def test_good_text_stays_as_it_is_but_for_nul(text: str) -> None:
    assert clean(text) == text.replace("\x00", "")


@given(any_json)
def test_any_json_value_becomes_strict_json(value: object) -> None:
    written = json.dumps(storable(value), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in written
    written.encode("utf-8")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_jsonb_refuses_become_null(number: float) -> None:
    assert storable({"a": [number, 1.5]}) == {"a": [None, 1.5]}
