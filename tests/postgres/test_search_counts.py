"""Whatever others own and whatever is asked: whoever has k matching items gets min(limit, k) of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from functions.api.filters import SEARCHABLE
from tests.fakes.http_api import Caller
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

WORDS = ("lighthouse", "boat", "noodles", "forest")
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


class Owned(BaseModel):
    """A picture that somebody owns."""

    owner: str
    words: frozenset[str]
    has_vector: bool
    status: str
    category: str
    duplicate: bool
    day: int


owned = st.builds(
    Owned,
    owner=st.sampled_from(["alice", "alice", "bob"]),
    words=st.frozensets(st.sampled_from(WORDS), min_size=1),
    has_vector=st.booleans(),
    status=st.sampled_from([*SEARCHABLE, "ready", "ready", "rejected", "pending"]),
    category=st.sampled_from(["Coast", "Food"]),
    duplicate=st.booleans(),
    day=st.integers(0, 3),
)

filters = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from(["Coast", "Food"]),
        "duplicate": st.sampled_from(["true", "false"]),
        "status": st.sampled_from(["ready", "failed"]),
        "created_from": st.sampled_from(["2026-03-01", "2026-03-03"]),
        "created_to": st.sampled_from(["2026-03-01", "2026-03-02"]),
    },
)


def passes(each: Owned, asked: dict[str, str]) -> bool:
    made = FIRST + timedelta(days=each.day)
    return (
        each.owner == "alice"
        and each.status in SEARCHABLE
        and asked.get("category") in (None, each.category)
        and asked.get("status") in (None, each.status)
        and asked.get("duplicate") in (None, str(each.duplicate).lower())
        and ("created_from" not in asked or made.date().isoformat() >= asked["created_from"])
        and ("created_to" not in asked or made.date().isoformat() <= asked["created_to"])
    )


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    pictures=st.lists(owned, max_size=14),
    question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True),
    mode=st.sampled_from(["text", "vector", "hybrid"]),
    sort=st.sampled_from(["relevance", "date"]),
    asked=filters,
    limit=st.integers(1, 6),
)
def test_a_page_is_as_long_as_there_are_matching_items(
    alice: Caller,
    db: Database,
    pictures: list[Owned],
    question: list[str],
    mode: str,
    sort: str,
    asked: dict[str, str],
    limit: int,
) -> None:
    db.execute("DELETE FROM items")
    expected = set()
    for each in pictures:
        made = picture(
            db,
            each.owner,
            " ".join(sorted(each.words)),
            category=each.category,
            vector=each.has_vector,
            status=each.status,
            duplicate_of=uuid4() if each.duplicate else None,
            created_at=FIRST + timedelta(days=each.day),
        )
        by_words = mode != "vector" and each.words & set(question)
        by_meaning = mode != "text" and each.has_vector
        if passes(each, asked) and (by_words or by_meaning):
            expected.add(made)
    query = {"q": " ".join(question), "mode": mode, "sort": sort, "min_score": 0, "limit": limit, **asked}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(len(pictures) + 1):
        page = alice.get("/search", **query, **cursor)
        assert page.status == 200, page.body
        hits = [hit["item_id"] for hit in page.body["hits"]]
        assert len(hits) == min(limit, len(expected) - len(seen))
        seen += hits
        if page.body["next_cursor"] is None:
            break
        cursor = {"cursor": page.body["next_cursor"]}
    assert sorted(seen) == sorted(expected)
