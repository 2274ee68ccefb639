"""Cursors come back as they went, or not at all."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.api.cursor import Cursor, read_cursor
from functions.api.problems import Problem


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)), st.uuids())  # noqa: DTZ001 - its zone is beside it
def test_a_cursor_names_its_place_exactly(created_at: datetime, item_id: UUID) -> None:
    cursor = Cursor(created_at, item_id)
    text = str(cursor)
    assert read_cursor(text) == cursor
    assert text.isascii()
    assert not set(text) & set("+/=&?#%")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_anything_else_is_a_problem(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read_cursor(text)
    assert (caught.value.status, caught.value.kind) == (400, "invalid-cursor")
