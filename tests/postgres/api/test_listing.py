"""Lists: every order and every filter, page by page, whatever is equal, missing or made meanwhile."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fakes import http_api
from tests.fakes.http_api import Caller, assert_problem
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

MOMENT = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)
LONG_AGO = datetime(1, 1, 1)  # noqa: DTZ001 - cameras know no zone


def item(db: Database, user_id: str = "alice", **columns: Any) -> str:
    """Put an item without anything around it into the database."""
    row = {"user_id": user_id, "item_id": uuid4(), "filename": "a.jpg", "object_key": "k"} | columns
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    db.execute(f"INSERT INTO items ({names}) VALUES ({values})", row)  # type: ignore[arg-type]  # noqa: S608
    return str(row["item_id"])


def pages(caller: Caller, limit: int, **query: Any) -> list[list[str]]:
    """Ids of every page of a list."""
    found: list[list[str]] = []
    cursor: dict[str, str] = {}
    for _ in range(100):
        answer = caller.get("/items", limit=limit, **query, **cursor)
        assert answer.status == 200, answer.body
        found.append([each["item_id"] for each in answer.body["items"]])
        if answer.body["next_cursor"] is None:
            return found
        cursor = {"cursor": answer.body["next_cursor"]}
    raise AssertionError("the list does not end")


def ids(caller: Caller, **query: Any) -> list[str]:
    return [each for page in pages(caller, 100, **query) for each in page]


ORDERS: dict[str, tuple[Callable[[dict[str, Any]], Any], bool]] = {
    "newest": (lambda row: row["created_at"], True),
    "oldest": (lambda row: row["created_at"], False),
    "name": (lambda row: row["filename"].lower(), False),
    "updated": (lambda row: row["updated_at"], True),
    "captured": (lambda row: row["captured_at"] or LONG_AGO, True),
    "size": (lambda row: -1 if row["file_size"] is None else row["file_size"], True),
}


class TestOrders:
    @pytest.fixture
    def rows(self, db: Database) -> list[dict[str, Any]]:
        """Forty items of which many are equal in something, and some lack it."""
        dice = random.Random(7)  # noqa: S311 - the same each time
        for number in range(40):
            item(
                db,
                filename=dice.choice(["a.jpg", "A.JPG", "b.jpg", "Äpfel.jpg", "zebra.png", "10.jpg", "夕日"]),
                created_at=MOMENT + timedelta(microseconds=number // 3),
                updated_at=MOMENT + timedelta(microseconds=dice.randrange(10)),
                captured_at=dice.choice([None, datetime(2020, 1, 1), datetime(2021, 1, 1, 0, 0, 0, 1)]),  # noqa: DTZ001
                file_size=dice.choice([None, 0, 1, 2**40]),
            )
        item(db, "bob")
        return db.execute("SELECT * FROM items WHERE user_id = 'alice'").fetchall()

    def test_each_is_paged_without_gap_or_repeat(self, alice: Caller, rows: list[dict[str, Any]]) -> None:
        for sort, (key, descending) in ORDERS.items():
            by_rows = sorted(rows, key=lambda row: (key(row), row["item_id"]), reverse=descending)  # noqa: B023
            expected = [str(row["item_id"]) for row in by_rows]
            whole = pages(alice, 3, sort=sort)
            assert [each for page in whole for each in page] == expected, sort
            assert [len(page) for page in whole] == [3] * 13 + [1]
            assert ids(alice, sort=sort) == expected
        assert ids(alice) == ids(alice, sort="newest")

    def test_what_comes_and_goes_meanwhile_moves_nothing_else(
        self, alice: Caller, db: Database, rows: list[dict[str, Any]]
    ) -> None:
        for sort in ORDERS:
            before = ids(alice, sort=sort)
            seen: list[str] = []
            cursor: dict[str, str] = {}
            for _ in range(100):
                answer = alice.get("/items", limit=11, sort=sort, **cursor).body
                seen += [each["item_id"] for each in answer["items"]]
                if answer["next_cursor"] is None:
                    break
                cursor = {"cursor": answer["next_cursor"]}
                # One at either end, and one less: that the last page ended with.
                for moment in (MOMENT - timedelta(days=1), MOMENT + timedelta(days=1)):
                    item(db, created_at=moment, updated_at=moment, filename=str(moment), file_size=5)
                db.execute("DELETE FROM items WHERE item_id = %s", (seen[-1],))
            assert [each for each in seen if each in before] == before, sort
            assert len(seen) == len(set(seen)) > 30


class TestFilters:
    def test_category_is_the_one_that_is_shown(self, alice: Caller, bob: Caller, db: Database) -> None:
        cat = picture(db, "alice", category="animal", vector=None)
        corrected = picture(db, "alice", category="animal", vector=None)
        other = picture(db, "alice", category="food", vector=None)
        assert ids(alice, category="animal") == [corrected, cat]
        alice.patch(f"/items/{corrected}", {"category": "pet, small"})
        alice.patch(f"/items/{other}", {"category": "animal"})
        assert ids(alice, category="animal") == [other, cat]
        assert ids(alice, category="pet, small") == [corrected]
        assert ids(alice, category="food") == []
        alice.patch(f"/items/{corrected}", {"category": None})
        assert ids(alice, category="animal") == [other, corrected, cat]
        assert ids(bob, category="animal") == []

    def test_category_is_that_of_the_current_analysis(self, alice: Caller, db: Database) -> None:
        item_id = picture(db, "alice", category="animal", vector=None)
        db.execute(
            "INSERT INTO analyses (user_id, item_id, version, category, headline, summary, raw_response,"
            " provider_used, model_used, prompt_hash, run_id)"
            " SELECT user_id, item_id, 2, 'food', headline, summary, raw_response, 'p', 'm', 'h', 'r'"
            " FROM analyses"
        )
        assert ids(alice, category="animal") == [item_id]
        db.execute("UPDATE items SET analysis_version = 2")
        assert ids(alice, category="food") == [item_id]
        db.execute("UPDATE items SET analysis_version = NULL")
        assert (ids(alice, category="food"), ids(alice, category="animal")) == ([], [])

    def test_each_lets_through_what_it_says(self, alice: Caller, db: Database) -> None:
        midnight = datetime(2026, 11, 20, tzinfo=UTC)
        copy = item(
            db,
            created_at=midnight,
            status="ready",
            duplicate_of=UUID(int=1),
            captured_at=datetime(2020, 5, 1, 23, 59, 59),  # noqa: DTZ001
        )
        day_before = item(db, created_at=midnight - timedelta(microseconds=1), status="failed")
        evening = item(
            db,
            created_at=midnight + timedelta(hours=23, minutes=59),
            status="rejected",
            captured_at=datetime(2020, 5, 2),  # noqa: DTZ001
        )
        for query, expected in (
            ({"status": "ready"}, [copy]),
            ({"status": "pending"}, []),
            ({"duplicate": "true"}, [copy]),
            ({"duplicate": "false"}, [evening, day_before]),
            ({"kind": "image"}, [evening, copy, day_before]),
            ({"created_from": "2026-11-20"}, [evening, copy]),
            ({"created_to": "2026-11-19"}, [day_before]),
            ({"created_from": "2026-11-20", "created_to": "2026-11-20"}, [evening, copy]),
            ({"created_from": "2026-11-20T00:00:00.000001Z"}, [evening]),
            ({"created_to": "2026-11-20T01:00:00+01:00"}, [day_before]),
            ({"created_from": "2026-11-20T01:00:00+01:00", "status": "ready"}, [copy]),
            ({"created_from": "2027-01-01"}, []),
            ({"created_from": "20261120", "created_to": "20261120"}, [evening, copy]),
            ({"captured_from": "2020-05-02"}, [evening]),
            ({"captured_to": "2020-05-01"}, [copy]),
            ({"captured_from": "1900-01-01"}, [evening, copy]),
            ({"captured_to": "9999-12-31"}, [evening, copy]),
            ({"captured_to": "2020-05-01", "sort": "size", "duplicate": "true"}, [copy]),
        ):
            assert ids(alice, **query) == expected, query
            assert [each for page in pages(alice, 1, **query) for each in page] == expected, query


class TestCursors:
    def test_one_belongs_to_its_filters_and_its_order(self, alice: Caller, db: Database) -> None:
        for _ in range(3):
            item(db)
        first = alice.get("/items", limit=1, status="pending", sort="size").body["next_cursor"]
        again = alice.get("/items", limit=2, status="pending", sort="size", cursor=first)
        assert (again.status, len(again.body["items"])) == (200, 2)
        for query in (
            {"sort": "size"},
            {"status": "pending"},
            {"status": "pending", "sort": "captured"},
            {"status": "ready", "sort": "size"},
            {"status": "pending", "sort": "size", "category": "animal"},
            {"status": "pending", "sort": "size", "created_from": "2026-11-20"},
            {"status": "pending", "sort": "size", "duplicate": "false"},
        ):
            answer = alice.get("/items", cursor=first, **query)
            assert_problem(answer, 400, "invalid-cursor")
            assert "other filters" in answer.body["detail"]
        item_id = picture(db, "alice", vector=None)
        for path in (f"/items/{item_id}/timeline", f"/items/{item_id}/analyses"):
            assert_problem(alice.get(path, cursor=first), 400, "invalid-cursor")

    def test_somebody_else_s_leads_to_one_s_own(self, alice: Caller, bob: Caller, db: Database) -> None:
        for caller in (alice, bob):
            for number in range(3):
                item(db, caller.user_id, created_at=MOMENT + timedelta(seconds=number), file_size=number)
        for sort in ORDERS:
            cursor = alice.get("/items", limit=1, sort=sort).body["next_cursor"]
            shown = bob.get("/items", cursor=cursor, sort=sort)
            owned = db.execute("SELECT item_id FROM items WHERE user_id = 'bob'").fetchall()
            assert {each["item_id"] for each in shown.body["items"]} <= {str(row["item_id"]) for row in owned}


class TestHostileQuestions:
    def test_none_is_our_fault(self, alice: Caller, db: Database) -> None:
        item(db)
        for query in (
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=1e3",
            "limit=99999999999999999999999999",
            "limit=ten",
            "limit=",
            "limit=%00",
            "limit=1&limit=2",
            "sort=newest&sort=size",
            "sort=random",
            "sort=",
            "status=gone",
            "kind=video",
            "duplicate=perhaps",
            "created_from=yesterday",
            "created_from=1795191648",
            "created_from=2026-13-01",
            "created_from=2026-11-20T09:15:00 01:00",
            "created_from=%00",
            "created_from=" + "9" * 400,
            "created_to=10000-01-01",
            "captured_to=%F0%9F%98%80",
            "category=",
            "category=%ED%A0%80",
            "category=" + "x" * 201,
            "categorie=animal",
            "limit=1&unknown=1",
            "%3Cscript%3E=1",
            "=1",
        ):
            answer = alice("GET", "/items", query)
            assert_problem(answer, 422, "invalid-input")
            assert "script" not in json.dumps(answer.body)
            assert [error["field"].partition(".")[0] for error in answer.body["errors"]] == ["query"]

    def test_odd_ones_are_answered(self, alice: Caller, db: Database) -> None:
        item_id = item(db, created_at=MOMENT)
        for query, found in (
            ("category=%00", False),
            ("category=a%2Cb", False),
            ("category='%20OR%20true--", False),
            ("created_to=9999-12-31", True),
            ("created_to=9999-12-31T23:59:59.999999%2B00:00", True),
            ("created_from=0001-01-01T00:00:00%2B14:00", True),
            ("created_from=0001-01-01", True),
            ("created_to=9999-12-31T23:59:59-14:00", True),
            ("captured_from=0001-01-01", False),
            ("duplicate=0", True),
        ):
            answer = alice("GET", "/items", query)
            assert answer.status == 200, (query, answer.body)
            assert [each["item_id"] for each in answer.body["items"]] == [item_id] * found, query

    def test_bytes_that_are_no_text_are_answered(self, alice: Caller, db: Database) -> None:
        event = alice.event("GET", "/items", "category=x")
        event |= {"rawQueryString": "category=%FF%FE", "queryStringParameters": {"category": "\ufffd\ufffd"}}
        assert http_api.invoke(event).body["items"] == []
        event |= {"rawQueryString": "%FF=1", "queryStringParameters": {"\ufffd": "1"}}
        assert_problem(http_api.invoke(event), 422, "invalid-input")

    def test_every_route_refuses_parameters_that_it_does_not_know(self, alice: Caller, db: Database) -> None:
        item_id = picture(db, "alice", vector=None)
        for method, path, query in (
            ("GET", "/items", "colour=red"),
            ("GET", f"/items/{item_id}", "colour=red"),
            ("GET", f"/items/{item_id}/timeline", "colour=red"),
            ("PATCH", f"/items/{item_id}", "colour=red"),
            ("DELETE", f"/items/{item_id}", "colour=red"),
            ("POST", "/items", "colour=red"),
            ("POST", f"/items/{item_id}/embed", "colour=red"),
            ("GET", "/search", "q=cat&colour=red"),
            ("GET", "/health", "colour=red"),
        ):
            answer = alice(method, path, query)
            assert_problem(answer, 422, "invalid-input")
            assert [error["field"] for error in answer.body["errors"]] == ["query.colour"], (method, path)
        assert alice.get(f"/items/{item_id}").status == 200
