"""Changing and running scans by hand does not get in the way of their times."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.fakes.http_api import Caller

Database = psycopg.Connection[dict[str, Any]]
NEW = {
    "name": "Every night",
    "work": {"select": {"all": True}, "stages": ["embed"]},
    "schedule": {"every": "day", "at": "03:00"},
    "zone": "Europe/Berlin",
}


def made(caller: Caller) -> str:
    answer = caller.post("/scans", NEW)
    assert answer.status == 201, answer.body
    return str(answer.body["scan_id"])


def test_a_time_that_has_come_is_not_missed_by_whoever_renames_the_scan(alice: Caller, db: Database) -> None:
    scan_id = made(alice)
    due = datetime.now(UTC) - timedelta(seconds=20)
    db.execute("UPDATE scans SET next_run_at = %s", (due,))

    for change in ({"name": "Another name"}, {"work": {"check": "objects"}}, {"enabled": True}, {}):
        answer = alice.patch(f"/scans/{scan_id}", change)
        assert answer.status == 200, answer.body
        assert datetime.fromisoformat(answer.body["next_run_at"]) == due
    assert answer.body["name"] == "Another name"

    moved = alice.patch(f"/scans/{scan_id}", {"schedule": NEW["schedule"] | {"at": "04:00"}}).body  # type: ignore[operator]
    assert datetime.fromisoformat(moved["next_run_at"]) > datetime.now(UTC)


def test_two_changes_of_different_things_both_stay(alice: Caller, db: Database) -> None:
    scan_id = made(alice)

    alice.patch(f"/scans/{scan_id}", {"zone": "UTC"})
    # Only what was said is written: the other one's change is not taken back.
    changed = alice.patch(f"/scans/{scan_id}", {"name": "Another name"}).body

    assert (changed["zone"], changed["name"]) == ("UTC", "Another name")
    assert changed["next_run_at"].endswith("T03:00:00Z")


def test_a_run_by_hand_is_the_scans_last_one(alice: Caller, bob: Caller) -> None:
    scan_id = made(alice)
    assert alice.get(f"/scans/{scan_id}").body["last_run_id"] is None

    first, second = (alice.post(f"/scans/{scan_id}/run", idempotency_key=key).body for key in ("one", "two"))

    scan = alice.get(f"/scans/{scan_id}").body
    assert (scan["last_run_id"], scan["last_run_at"]) == (second["run_id"], second["created_at"])
    # The first request, sent again, is not a newer run.
    assert alice.post(f"/scans/{scan_id}/run", idempotency_key="one").body["run_id"] == first["run_id"]
    assert alice.get(f"/scans/{scan_id}").body["last_run_id"] == second["run_id"]
    assert bob.post(f"/scans/{scan_id}/run").status == 404
