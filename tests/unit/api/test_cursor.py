"""Cursors come back as they went, or not at all."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.api import cursor
from functions.api.cursor import Cursor, read_cursor
from functions.api.problems import Problem

LISTING = {"list": "items", "sort": "name", "category": "夕日", "limit": None}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=255)


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)), st.uuids())  # noqa: DTZ001 - its zone is beside it
def test_a_cursor_names_its_place_exactly(created_at: datetime, item_id: UUID) -> None:
    place = Cursor(created_at, item_id)
    text = str(place)
    assert read_cursor(text) == place
    assert text.isascii()
    assert not set(text) & set("+/=&?#%")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_anything_else_is_a_problem(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read_cursor(text)
    assert (caught.value.status, caught.value.kind) == (400, "invalid-cursor")


@settings(deadline=None)
@given(
    st.none() | TEXTS,
    st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    st.none() | st.datetimes(),
    st.uuids(),
)
def test_whatever_a_list_is_sorted_by_comes_back(
    name: str | None, size: int | None, captured: datetime | None, item_id: UUID
) -> None:
    text = cursor.write(LISTING, name, size, captured, item_id)
    readers = (*map(cursor.perhaps, (cursor.words, cursor.number, cursor.wall_clock)), UUID)
    assert cursor.read(text, LISTING, *readers) == (name, size, captured, item_id)
    assert len(text) <= cursor.MAX_CHARACTERS
    assert text.isascii()
    assert not set(text) & set("+/=&?#%")


def refused(text: str, listing: dict[str, Any], *readers: Callable[[Any], Any]) -> str:
    with pytest.raises(Problem) as caught:
        cursor.read(text, listing, *readers)
    assert (caught.value.status, caught.value.kind) == (400, "invalid-cursor")
    return caught.value.detail


def test_a_cursor_of_another_list_is_told_apart_from_nonsense() -> None:
    text = cursor.write(LISTING, "a")
    for other in ({}, LISTING | {"sort": "size"}, LISTING | {"category": None}, LISTING | {"more": 1}):
        assert "other filters" in refused(text, other, cursor.words)
    assert "unchanged" in refused(text + "A", LISTING, cursor.words)


@pytest.mark.parametrize(
    ("reader", "values"),
    [
        (cursor.words, [None, 1, ["a"], "\x00", "\ud800"]),
        (cursor.number, [None, "1", 1.0, True, 2**63, float("nan"), float("inf")]),
        (cursor.moment, [None, 1, "", "2026-11-20T09:00:00", "now"]),
        (cursor.wall_clock, [None, 1, "", "2026-11-20T09:00:00+00:00", "now"]),
    ],
)
def test_a_forged_value_is_refused(reader: Callable[[Any], Any], values: list[Any]) -> None:
    ours = json.loads(base64.urlsafe_b64decode(cursor.write(LISTING) + "=="))
    for value in values:
        forged = json.dumps([*ours, value], separators=(",", ":")).encode()
        text = base64.urlsafe_b64encode(forged).decode().rstrip("=")
        assert "unchanged" in refused(text, LISTING, reader)
    assert "unchanged" in refused(cursor.write(LISTING), LISTING, reader)
    assert "unchanged" in refused(cursor.write(LISTING, 1, 2), LISTING, reader)
