"""The caller's own affairs: usage, categories, profile, export, and the end of it all."""

import base64
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any

import psycopg
import pytest
import requests

from functions.api import categories, cursor, export
from functions.eraser import handler as eraser
from functions.exporter import handler as exporter
from shared import database
from shared.settings import Settings
from tests.conftest import Aws, LambdaContext
from tests.fakes import belongings
from tests.fakes.belongings import everything_of
from tests.fakes.document import operations
from tests.fakes.http_api import Answer, Caller, invoke
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    # What the API and the two functions behind it need, together.
    return function_env("Eraser") | function_env("Api", EMBEDDER="offline")


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.body["type"].removeprefix("urn:problem-type:magpie:")


# GET /usage


def spend(db: Database, user_id: str, moment: str, **columns: Any) -> None:
    row = {
        "user_id": user_id,
        "stage": "analyzer",
        "provider": "anthropic",
        "model": "claude",
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": Decimal("0.000000001"),
        "occurred_at": moment,
    } | columns
    names = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    db.execute(f"INSERT INTO usage_ledger ({names}) VALUES ({values})", row)  # noqa: S608 - constants


def test_usage_is_summed_up_in_every_way(alice: Caller, db: Database) -> None:
    spend(db, "alice", "2026-11-03T10:00Z", cost_usd=Decimal("0.1"))
    spend(db, "alice", "2026-11-03T11:00Z", cost_usd=Decimal("0.2"))
    spend(db, "alice", "2026-11-05T10:00Z", stage="embedder", provider="voyage", model="v", output_tokens=0)
    spend(db, "alice", "2026-11-05T10:00Z", stage="api", provider="voyage", model="v", input_tokens=1)
    spend(db, "bob", "2026-11-03T10:00Z", cost_usd=Decimal(1000))
    body = alice.get("/usage", month="2026-11").body
    assert (body["from"], body["to"]) == ("2026-11-01", "2026-11-30")
    assert body["totals"] == {
        "calls": 4,
        "input_tokens": 301,
        "output_tokens": 30,
        "cost_usd": "0.300000002",  # exactly: 0.1 + 0.2 of floating point would show
    }
    assert [day["day"] for day in body["by_day"]] == [f"2026-11-{day:02}" for day in range(1, 31)]
    assert [day["calls"] for day in body["by_day"]] == [0, 0, 2, 0, 2] + [0] * 25
    assert body["by_day"][2]["cost_usd"] == "0.300000000"
    assert body["by_day"][0]["cost_usd"] == "0.000000000"
    assert [(part["stage"], part["calls"]) for part in body["by_stage"]] == [
        ("analyzer", 2),
        ("api", 1),
        ("embedder", 1),
    ]
    assert [(part["provider"], part["model"], part["cost_usd"]) for part in body["by_model"]] == [
        ("anthropic", "claude", "0.300000000"),
        ("voyage", "v", "0.000000002"),
    ]


@pytest.mark.parametrize(
    ("month", "days", "before", "first", "last", "after"),
    [
        ("2026-11", 30, "2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01"),
        ("2026-12", 31, "2026-11-30", "2026-12-01", "2026-12-31", "2027-01-01"),
        ("2028-02", 29, "2028-01-31", "2028-02-01", "2028-02-29", "2028-03-01"),
    ],
)
def test_a_month_has_its_first_and_its_last_moment_in_utc(
    alice: Caller, db: Database, month: str, days: int, before: str, first: str, last: str, after: str
) -> None:
    spend(db, "alice", f"{before}T23:59:59.999999Z")
    spend(db, "alice", f"{first}T00:00:00Z")
    spend(db, "alice", f"{first}T02:00:00+03:00")  # still the day before, in UTC
    spend(db, "alice", f"{last}T23:59:59.999999Z")
    spend(db, "alice", f"{last}T20:00:00-05:00")  # the day after, in UTC
    spend(db, "alice", f"{after}T00:00:00Z")
    picture(db, "alice", file_size=5, created_at=f"{first}T00:00:00Z", vector=None)
    picture(db, "alice", file_size=7, created_at=f"{after}T00:00:00Z", vector=None)
    body = alice.get("/usage", month=month).body
    assert len(body["by_day"]) == days
    assert body["totals"]["calls"] == 2
    assert [day["day"] for day in body["by_day"] if day["calls"]] == [first, last]
    assert body["by_day"][0]["added"] == {"items": 1, "bytes": 5}
    assert body["storage"]["added"] == {"items": 1, "bytes": 5}
    assert (body["storage"]["items"], body["storage"]["bytes"]) == (2, 12)
    whole = alice.get("/usage", **{"from": before, "to": after}).body
    assert whole["totals"]["calls"] == 6


def test_days_are_those_of_utc_whatever_zone_the_session_has(
    alice: Caller, db: Database, environment: dict[str, str]
) -> None:
    spend(db, "alice", "2026-11-03T23:30:00Z")
    database.connection().execute("SET timezone TO 'Pacific/Auckland'")
    body = alice.get("/usage", month="2026-11").body
    assert [day["day"] for day in body["by_day"] if day["calls"]] == ["2026-11-03"]


def test_by_default_usage_is_of_this_month(alice: Caller) -> None:
    today = datetime.now(UTC).date()
    body = alice.get("/usage").body
    assert date.fromisoformat(body["from"]) == today.replace(day=1)
    assert date.fromisoformat(body["to"]) >= today
    assert alice.get("/usage", **{"from": str(today - timedelta(days=3))}).body["to"] == str(today)


def test_storage_is_what_is_there_now_by_status(alice: Caller, db: Database) -> None:
    picture(db, "alice", file_size=10, vector=None)
    picture(db, "alice", file_size=20, vector=None, created_at="2001-01-01T00:00:00Z")
    picture(db, "alice", file_size=None, status="pending", vector=None)
    picture(db, "alice", file_size=2**40, status="rejected", vector=None)
    picture(db, "bob", file_size=1000, vector=None)
    storage = alice.get("/usage").body["storage"]
    assert (storage["items"], storage["bytes"]) == (4, 2**40 + 30)
    assert storage["by_status"] == {
        "pending": {"items": 1, "bytes": 0},
        "ready": {"items": 2, "bytes": 30},
        "rejected": {"items": 1, "bytes": 2**40},
    }
    assert storage["added"] == {"items": 3, "bytes": 2**40 + 10}


def test_somebody_who_has_done_nothing_has_used_nothing(alice: Caller) -> None:
    body = alice.get("/usage", **{"from": "2026-11-20", "to": "2026-11-20"}).body
    nothing = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": "0.000000000"}
    assert body["totals"] == nothing
    assert body["by_day"] == [{"day": "2026-11-20", "added": {"items": 0, "bytes": 0}, **nothing}]
    assert body["by_stage"] == body["by_model"] == []
    assert body["storage"] == {"items": 0, "bytes": 0, "by_status": {}, "added": {"items": 0, "bytes": 0}}


def test_a_period_that_is_none_is_a_problem(alice: Caller) -> None:
    for query in (
        {"month": ""},
        {"month": "2026"},
        {"month": "2026-13"},
        {"month": "2026-00"},
        {"month": "0000-01"},
        {"month": "2026-11-01"},
        {"month": " 2026-11"},
        {"month": "２０２６-11"},
        {"month": "2026-11\x00"},
        {"month": "\ud800"},
        {"from": "2026-02-29"},
        {"from": "yesterday"},
        {"from": "1700000000"},
        {"from": "2026-11-20T00:00:00"},
        {"from": "2026-11-20", "to": "2026-11-19"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"from": "0001-01-01", "to": "9999-12-31"},
        {"to": "2026-11-20"},
        {"month": "2026-11", "from": "2026-11-01"},
    ):
        assert problem(alice.get("/usage", **query)) == (422, "invalid-input"), query
    assert alice.get("/usage", month="9999-12").status == 200
    assert alice.get("/usage", month="0001-01").status == 200
    leap = alice.get("/usage", **{"from": "2028-01-01", "to": "2028-12-31"})
    assert len(leap.body["by_day"]) == 366


def test_what_is_wrong_with_a_period_is_said_where_it_is_wrong(alice: Caller) -> None:
    (error,) = alice.get("/usage", month="November").body["errors"]
    assert error == {"field": "query.month", "message": "Write a month like 2026-11."}


@pytest.mark.heavy
def test_a_hundred_thousand_calls_are_summed_up_in_no_time(alice: Caller, db: Database) -> None:
    db.execute(
        """
        INSERT INTO usage_ledger (user_id, stage, provider, model, input_tokens, cost_usd, occurred_at)
        SELECT 'alice', 'analyzer', 'anthropic', 'model ' || number % 3, 1, 0.001,
               timestamptz '2026-11-01T00:00Z' + number * interval '24 seconds'
          FROM generate_series(1, 100000) AS number
        """
    )
    db.execute("ANALYZE usage_ledger")
    taken = []
    for _ in range(5):
        begun = perf_counter()
        body = alice.get("/usage", month="2026-11").body
        taken.append(perf_counter() - begun)
    assert body["totals"]["calls"] == 100_000
    assert min(taken) < 0.5  # some 0.05 where nothing else runs


# GET /categories


def file(db: Database, user_id: str, **categories: int) -> None:
    for category, count in categories.items():
        for _ in range(count):
            picture(db, user_id, category=category, vector=None)


def test_categories_come_with_their_counts_the_largest_first(alice: Caller, db: Database) -> None:
    file(db, "alice", food=2, animal=3, art=2)
    file(db, "bob", food=9, car=1)
    picture(db, "alice", vector=None, status="pending", analysis_version=None)
    body = alice.get("/categories").body
    assert body == {
        "categories": [
            {"category": "animal", "items": 3},
            {"category": "art", "items": 2},
            {"category": "food", "items": 2},
        ],
        "next_cursor": None,
    }


def test_what_a_person_said_counts_in_place_of_what_the_model_said(alice: Caller, db: Database) -> None:
    file(db, "alice", animal=2)
    db.execute(
        "INSERT INTO corrections (user_id, item_id, category)"
        " SELECT user_id, item_id, 'pet' FROM items LIMIT 1"
    )
    assert alice.get("/categories").body["categories"] == [
        {"category": "animal", "items": 1},
        {"category": "pet", "items": 1},
    ]


def test_pages_of_categories_are_the_whole_list(alice: Caller, db: Database) -> None:
    names = {"b": 2, "a": 2, "Z": 2, "ä": 1, "\U0001f431": 1, "x y": 1, "one": 3}
    file(db, "alice", **names)
    whole = alice.get("/categories").body["categories"]
    paged, after = [], {}
    for _ in range(len(names) + 1):
        body = alice.get("/categories", limit=2, **after).body
        paged += body["categories"]
        if body["next_cursor"] is None:
            break
        after = {"cursor": body["next_cursor"]}
    assert paged == whole
    assert {each["category"]: each["items"] for each in whole} == names
    assert [each["category"] for each in whole[:4]] == ["one", "Z", "a", "b"]


def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(alice: Caller, bob: Caller, db: Database) -> None:
    file(db, "alice", secret=3, animal=2)
    file(db, "bob", food=1)
    hers = alice.get("/categories", limit=1).body["next_cursor"]
    assert bob.get("/categories", cursor=hers).body["categories"] == [{"category": "food", "items": 1}]


def test_a_cursor_of_categories_that_is_not_ours_is_a_problem(alice: Caller) -> None:
    listing = categories.LISTING
    assert alice.get("/categories", cursor=cursor.write(listing, 2, "animal")).status == 200
    for forged in (
        "",
        "garbage",
        "é",
        "x" * 9000,
        cursor.write(listing, "animal", 2),
        cursor.write(listing, True, "animal"),
        cursor.write(listing, 2**63, "animal"),
        cursor.write(listing, 2, None),
        cursor.write(listing, 2, "a\x00"),
        cursor.write(listing, 2, "animal", "more"),
        cursor.write({}, 2, "animal"),
        base64.urlsafe_b64encode(b"[" * 2900).decode(),
    ):
        assert problem(alice.get("/categories", cursor=forged)) == (400, "invalid-cursor"), forged
    for limit in (0, 101, "ten"):
        assert problem(alice.get("/categories", limit=limit)) == (422, "invalid-input")


# GET /me


def test_whoever_an_administrator_made_gets_a_profile_and_keeps_it(alice: Caller, db: Database) -> None:
    first = alice.get("/me").body
    assert (first["user_id"], first["email"], first["status"]) == ("alice", None, "active")
    assert set(first["limits"]) == {"items", "storage_bytes", "model_usd_per_month", "scans"}
    assert alice.get("/me").body == first
    assert len(db.execute("SELECT FROM user_profiles").fetchall()) == 1


def test_a_profile_says_what_its_row_says_and_only_to_its_user(
    alice: Caller, bob: Caller, db: Database
) -> None:
    db.execute(
        "INSERT INTO user_profiles (user_id, email, status, subscription_tier, usage_limits)"
        " VALUES ('alice', 'alice@example.com', 'suspended', 'team', '{\"items\": null}')"
    )
    body = alice.get("/me").body
    assert (body["email"], body["status"], body["tier"]) == ("alice@example.com", "suspended", "team")
    assert body["limits"]["items"] is None
    assert bob.get("/me").body["user_id"] == "bob"
    assert bob.get("/me").body["email"] is None


# DELETE /me


def hear(aws: Aws, run: Callable[..., Any]) -> list[dict[str, Any]]:
    """Let a function hear what was published, as its queue would."""
    return [run(envelope, LambdaContext(remaining_ms=900_000)) for envelope in aws.published()]


def test_the_receipt_comes_when_everything_is_gone(
    alice: Caller, bob: Caller, db: Database, aws: Aws
) -> None:
    mine = everything_of(db, aws, "alice")
    everything_of(db, aws, "bob")
    theirs = belongings.rows(db, "bob")
    asked = alice("DELETE", "/me", {"wait": 0})
    assert (asked.status, asked.body["status"], asked.body["finished_at"]) == (202, "running", None)
    assert asked.headers["location"] == "/me/erasure"
    assert int(asked.headers["retry-after"]) > 0
    (done,) = hear(aws, eraser.lambda_handler)
    assert done["erasure_id"] == asked.body["receipt_id"]
    shown = alice.get("/me/erasure")
    assert (shown.status, shown.body["status"]) == (200, "finished")
    assert shown.body["receipt_id"] == asked.body["receipt_id"]
    assert shown.body["removed"]["rows"]["items"] == 2
    assert (shown.body["removed"]["objects"], shown.body["removed"]["bytes"]) == (mine.versions, mine.size)
    assert alice("DELETE", "/me").body == shown.body
    assert belongings.rows(db, "bob") == theirs
    assert problem(bob.get("/me/erasure")) == (404, "erasure-not-found")


def test_an_erasure_that_is_done_in_time_is_answered_at_once(alice: Caller, db: Database, aws: Aws) -> None:
    everything_of(db, aws, "alice")
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(alice("DELETE", "/me", {"wait": 10})))
    asking.start()
    # Apart from the pause: of a table without rows, `SELECT pg_sleep(…) FROM` would return at once.
    while db.execute("UPDATE erasures SET finished_at = now()").rowcount == 0:
        assert asking.is_alive()
        db.execute("SELECT pg_sleep(0.01)")
    finished = perf_counter()
    asking.join(timeout=15)
    assert perf_counter() - finished < 8
    assert [answer.status for answer in answers] == [200]


def test_nobody_waits_for_longer_than_the_function_may_run(alice: Caller) -> None:
    begun = perf_counter()
    answer = invoke(alice.event("DELETE", "/me", {"wait": 10}), LambdaContext(remaining_ms=2_300))
    assert answer.status == 202
    assert perf_counter() - begun < 2


def test_asking_again_is_the_same_erasure_and_says_it_again(alice: Caller, aws: Aws) -> None:
    first = alice("DELETE", "/me", {"wait": 0}).body
    assert alice("DELETE", "/me", {"wait": 0}).body == first
    told = [envelope["detail"] for envelope in aws.published()]
    assert [each["data"] for each in told] == [{"user_id": "alice", "erasure_id": first["receipt_id"]}] * 2
    assert {each["metadata"]["correlation_id"] for each in told} == {"JKJaXmPLvHcESHA="}


def test_an_erasure_that_nobody_could_be_told_of_is_told_with_the_next_request(
    alice: Caller, aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_BUS", "x" * 300)
    Settings.load.cache_clear()  # type: ignore[attr-defined]
    refused = alice("DELETE", "/me", {"wait": 0})
    assert problem(refused) == (503, "unavailable")
    assert "erasures" in [name for name, count in belongings.rows(db, "alice").items() if count]
    monkeypatch.undo()
    Settings.load.cache_clear()  # type: ignore[attr-defined]


def test_what_cannot_be_waited_for_is_a_problem(alice: Caller, db: Database) -> None:
    for wait in (-1, 11, "long", "", 1.5):
        assert problem(alice("DELETE", "/me", {"wait": wait})) == (422, "invalid-input")
    assert problem(alice("DELETE", "/me", body={"really": True})) == (400, "malformed-request")
    assert db.execute("SELECT FROM erasures").fetchall() == []


def test_no_route_brings_anything_back_with_a_token_that_is_still_valid(
    alice: Caller, bob: Caller, db: Database, aws: Aws
) -> None:
    mine = everything_of(db, aws, "alice")
    alice("DELETE", "/me", {"wait": 0})
    hear(aws, eraser.lambda_handler)
    refused, asked = set(), 0
    for operation in operations():
        if operation.is_open:
            continue
        ids = {name: str(mine.first) for name in re.findall(r"{(\w+)}", operation.path)}
        required = [
            each["name"] for each in operation.parameters if each["in"] == "query" and each["required"]
        ]
        body = {"body": operation.example()} if operation.takes_body else {}
        answer = alice(operation.method, operation.at(**ids), dict.fromkeys(required, "exact"), **body)
        assert answer.status < 500, (operation, answer)
        asked += 1
        if answer.status == 403:
            assert problem(answer) == (403, "account-deleted")
            refused.add(operation.name)
    assert asked > 15
    assert {"show_me", "export_everything", "create_item"} <= refused
    assert {table for table, count in belongings.rows(db, "alice").items() if count} == {"erasures"}
    assert belongings.object_versions(aws, "alice") == []
    assert aws.published() == []
    assert bob.get("/me").status == 200


# GET /export


@pytest.fixture
def hearing(aws: Aws) -> Callable[[], list[dict[str, Any]]]:
    return lambda: hear(aws, exporter.lambda_handler)


def test_an_export_is_asked_for_made_and_downloaded(
    alice: Caller, bob: Caller, db: Database, aws: Aws, hearing: Callable[[], list[dict[str, Any]]]
) -> None:
    everything_of(db, aws, "alice")
    everything_of(db, aws, "bob")
    asked = alice.get("/export", wait=0)
    assert (asked.status, asked.body["status"], asked.body["url"]) == (202, "running", None)
    assert asked.headers["location"] == "/export"
    assert int(asked.headers["retry-after"]) > 0
    assert [made["status"] for made in hearing()] == ["succeeded"]
    answer = alice.get("/export")
    body = answer.body
    assert (answer.status, body["status"], body["export_id"]) == (
        200,
        "succeeded",
        asked.body["export_id"],
    )
    downloaded = requests.get(body["url"], timeout=5)
    assert len(downloaded.content) == body["bytes"]
    assert hashlib.sha256(downloaded.content).hexdigest() == body["sha256"]
    today = datetime.fromisoformat(body["requested_at"])
    assert f'filename="magpie-export-{today:%Y-%m-%d}.ndjson.gz"' in downloaded.headers["content-disposition"]
    assert "content-encoding" not in downloaded.headers
    header, *lines = map(json.loads, gzip.decompress(downloaded.content).splitlines())
    assert header["counts"] == body["counts"]
    assert {line["row"]["user_id"] for line in lines} == {"alice"}
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert requests.get(body["url"].replace("/alice/", "/bob/"), timeout=5).status_code == 403
    assert bob.get("/export", wait=0).body["export_id"] != body["export_id"]


def statuses(db: Database) -> list[str]:
    return [
        row["status"] for row in db.execute("SELECT status FROM exports ORDER BY requested_at").fetchall()
    ]


def test_one_export_runs_at_a_time(alice: Caller, db: Database, aws: Aws) -> None:
    first = alice.get("/export", wait=0).body
    assert alice.get("/export", wait=0).body == first
    assert alice.get("/export", wait=0, fresh="true").body == first
    assert statuses(db) == ["running"]
    assert len(aws.published()) == 1


def test_an_export_of_the_last_hour_is_told_unless_a_fresh_one_is_wished(
    alice: Caller, db: Database, hearing: Callable[[], list[dict[str, Any]]]
) -> None:
    first = alice.get("/export", wait=0).body["export_id"]
    hearing()
    assert alice.get("/export", wait=0).body["export_id"] == first
    second = alice.get("/export", wait=0, fresh="true").body["export_id"]
    assert second != first
    hearing()
    assert alice.get("/export", wait=0).body["export_id"] == second
    db.execute("UPDATE exports SET finished_at = now() - interval '61 minutes'")
    third = alice.get("/export", wait=0)
    assert third.status == 202
    assert third.body["export_id"] not in (first, second)
    assert statuses(db) == ["succeeded", "succeeded", "running"]


def test_a_failed_export_says_so_and_can_be_asked_for_again(
    alice: Caller, db: Database, hearing: Callable[[], list[dict[str, Any]]]
) -> None:
    failed = alice.get("/export", wait=0).body["export_id"]
    db.execute("UPDATE exports SET status = 'failed', error = 'Too much.', finished_at = now()")
    for _ in range(2):
        answer = alice.get("/export", wait=0)
        assert (answer.status, answer.body["status"], answer.body["error"]) == (200, "failed", "Too much.")
        assert (answer.body["export_id"], answer.body["url"]) == (failed, None)
    assert alice.get("/export", wait=0, fresh="true").body["status"] == "running"
    hearing()
    assert alice.get("/export", wait=0).body["status"] == "succeeded"


def test_an_export_that_was_lost_is_given_up(alice: Caller, db: Database, aws: Aws) -> None:
    lost = alice.get("/export", wait=0).body["export_id"]
    db.execute("UPDATE exports SET requested_at = now() - interval '31 minutes'")
    answer = alice.get("/export", wait=0).body
    assert (answer["export_id"], answer["status"], answer["error"]) == (lost, "failed", export.SAY_AGAIN)
    assert alice.get("/export", wait=0, fresh="true").body["status"] == "running"
    assert [made["status"] for made in hear(aws, exporter.lambda_handler)] == ["ignored", "succeeded"]


def test_an_export_that_nobody_could_be_told_of_fails_at_once(
    alice: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_BUS", "x" * 300)
    Settings.load.cache_clear()  # type: ignore[attr-defined]
    assert problem(alice.get("/export", wait=0)) == (503, "unavailable")
    assert statuses(db) == ["failed"]
    monkeypatch.undo()
    Settings.load.cache_clear()  # type: ignore[attr-defined]


def test_exports_are_forgotten_after_their_objects(alice: Caller, db: Database) -> None:
    for days in (9, 7):
        db.execute(
            "INSERT INTO exports (user_id, export_id, status, requested_at, finished_at)"
            " SELECT 'alice', gen_random_uuid(), 'succeeded', moment, moment"
            "   FROM (SELECT now() - %s * interval '1 day') AS past (moment)",
            (days,),
        )
    alice.get("/export", wait=0)
    assert statuses(db) == ["succeeded", "running"]


def test_what_an_export_cannot_be_asked_for_is_a_problem(alice: Caller, db: Database) -> None:
    for query in ({"wait": 11}, {"wait": -1}, {"fresh": "maybe"}, {"wait": "nan"}):
        assert problem(alice.get("/export", **query)) == (422, "invalid-input")
    assert statuses(db) == []


def test_no_log_holds_the_url_of_an_export(
    alice: Caller, hearing: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    alice.get("/export", wait=0)
    hearing()
    assert "X-Amz-Signature" in alice.get("/export").body["url"]
    ours = [record for record in caplog.records if not record.name.startswith(("boto", "urllib3", "s3"))]
    assert ours
    assert "X-Amz-Signature" not in str([vars(record) for record in ours])
