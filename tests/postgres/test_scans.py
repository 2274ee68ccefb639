"""Scans of users: kept by the API, started by the tick, each time once."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from functions.scan_tick import due
from functions.scan_tick import handler as tick
from shared import database
from tests.conftest import client
from tests.fakes.http_api import Caller, assert_problem

Database = psycopg.Connection[dict[str, Any]]
DAILY = {"every": "day", "at": "03:00"}
NEW = {
    "name": "Every night",
    "work": {"select": {"status": "failed"}, "stages": ["analyze", "embed"], "max_cost_usd": 2},
    "schedule": DAILY,
    "zone": "Europe/Berlin",
}


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    function_env("ScanTick")
    return function_env("Api", EMBEDDER="offline")


def executions(environment: dict[str, str]) -> list[dict[str, Any]]:
    sfn = client("stepfunctions")
    listed = sfn.list_executions(stateMachineArn=environment["STATE_MACHINE_ARN"])["executions"]
    return [json.loads(sfn.describe_execution(executionArn=each["executionArn"])["input"]) for each in listed]


class TestRoutes:
    def test_a_scan_is_made_shown_changed_paused_and_deleted(self, alice: Caller) -> None:
        made = alice.post("/scans", NEW)
        assert made.status == 201, made.body
        scan_id = made.body["scan_id"]
        assert made.body["schedule"] == {**dict.fromkeys(("weekday", "day", "cron")), **DAILY}
        coming = datetime.fromisoformat(made.body["next_run_at"])
        assert datetime.now(UTC) < coming <= datetime.now(UTC) + timedelta(days=1)
        assert coming.hour in (1, 2)  # 03:00 in Berlin
        assert alice.get(f"/scans/{scan_id}").body == made.body
        assert alice.get("/scans").body == {"scans": [made.body], "next_cursor": None}

        changed = alice.patch(f"/scans/{scan_id}", {"name": "At noon", "schedule": {**DAILY, "at": "12:00"}})
        assert (changed.body["name"], changed.body["work"]) == ("At noon", made.body["work"])
        assert changed.body["next_run_at"] != made.body["next_run_at"]
        paused = alice.patch(f"/scans/{scan_id}", {"enabled": False}).body
        assert (paused["enabled"], paused["next_run_at"]) == (False, None)
        assert alice.patch(f"/scans/{scan_id}", {"enabled": True}).body["next_run_at"]

        assert alice.delete(f"/scans/{scan_id}").status == 204
        assert_problem(alice.get(f"/scans/{scan_id}"), 404, "scan-not-found")

    def test_the_same_request_again_is_the_same_scan(self, alice: Caller, db: Database) -> None:
        first = alice.post("/scans", NEW, idempotency_key="one").body
        assert alice.post("/scans", NEW, idempotency_key="one").body["scan_id"] == first["scan_id"]
        assert len(db.execute("SELECT FROM scans").fetchall()) == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"work": {}},
            {"work": {"select": {"all": True}, "check": "objects"}},
            {"work": {"select": {"ids": []}}},
            {"schedule": {"every": "week", "at": "03:00"}},
            {"schedule": {"cron": "cron(0 3 * * * *)"}},
            {"schedule": {"cron": "rate(1 minute)"}},
            {"zone": "Berlin"},
            {"zone": "../../etc/passwd"},
            {"name": ""},
            {"name": "\u0000"},
            {"surprise": 1},
        ],
        ids=lambda wrong: json.dumps(wrong)[:50],
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, Any], alice: Caller) -> None:
        assert_problem(alice.post("/scans", {**NEW, **wrong}), 422, "invalid-input")
        assert alice.get("/scans").body["scans"] == []

    def test_somebody_elses_scan_does_not_exist(self, alice: Caller, bob: Caller) -> None:
        scan_id = alice.post("/scans", NEW).body["scan_id"]
        missing = bob.get(f"/scans/{uuid4()}").body
        assert bob.get(f"/scans/{scan_id}").body == missing
        assert bob.patch(f"/scans/{scan_id}", {"enabled": False}).body == missing
        assert bob.delete(f"/scans/{scan_id}").body == missing
        assert bob.post(f"/scans/{scan_id}/run").body == missing
        assert bob.get(f"/scans/{scan_id}/runs").body == missing
        assert bob.get("/scans/nonsense").body == missing
        assert bob.get("/scans").body["scans"] == []
        assert alice.get(f"/scans/{scan_id}").body["enabled"]

    def test_a_scan_runs_now_and_its_runs_show_a_trend(
        self, alice: Caller, environment: dict[str, str], db: Database
    ) -> None:
        scan_id = alice.post("/scans", {**NEW, "work": {"check": "objects"}}).body["scan_id"]
        runs = [alice.post(f"/scans/{scan_id}/run") for _ in range(2)]
        assert [answer.status for answer in runs] == [202, 202]
        (first, second) = (answer.body["run_id"] for answer in runs)
        assert {asked["check"] for asked in executions(environment)} == {"objects"}
        counts = {"planned": 3, "done": 2, "ignored": 0, "rejected": 0, "failed": 1, "left": 0}
        summary = {"items": counts, "cost_usd": 0.5, "findings": {"images_missing": 4}}
        db.execute(
            "UPDATE scan_runs SET status = 'succeeded', summary = %s, finished_at = now() WHERE run_id = %s",
            (json.dumps(summary), first),
        )
        shown = alice.get(f"/scans/{scan_id}/runs").body
        assert [run["run_id"] for run in shown["runs"]] == [second, first]
        (point,) = shown["trend"]
        assert (point["run_id"], point["done"], point["failed"], point["findings"]) == (first, 2, 1, 4)
        # Another run of the caller's is none of this scan.
        alice.post("/failed/replay", {})
        assert len(alice.get(f"/scans/{scan_id}/runs").body["runs"]) == 2


class TestTick:
    NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)

    def scan(self, db: Database, due_at: datetime, user_id: str = "alice", **changed: Any) -> str:
        scan_id = str(uuid4())
        row = {
            "work": json.dumps(NEW["work"]),
            "schedule": json.dumps({"every": "hour", "at": "00:00"}),
            "zone": "UTC",
            **changed,
        }
        db.execute(
            "INSERT INTO scans (user_id, scan_id, name, work, schedule, zone, next_run_at) "
            "VALUES (%s, %s, 'scan', %s, %s, %s, %s)",
            (user_id, scan_id, row["work"], row["schedule"], row["zone"], due_at),
        )
        return scan_id

    def next_of(self, db: Database, scan_id: str) -> datetime:
        row = db.execute("SELECT next_run_at FROM scans WHERE scan_id = %s", (scan_id,)).fetchone()
        assert row
        return row["next_run_at"]

    def test_what_is_due_is_started_and_comes_again(self, db: Database, environment: dict[str, str]) -> None:
        due_now = self.scan(db, self.NOW.replace(second=0))
        later = self.scan(db, self.NOW + timedelta(seconds=1))
        assert tick.process(self.NOW) == {"started": 1}
        (asked,) = executions(environment)
        assert (asked["scan_id"], asked["user_id"], asked["kind"]) == (due_now, "alice", "scan")
        assert asked["select"] == {"status": "failed"}
        assert self.next_of(db, due_now) == datetime(2026, 11, 20, 13, tzinfo=UTC)
        assert tick.process(self.NOW) == {"started": 0}
        assert tick.process(self.NOW + timedelta(seconds=1)) == {"started": 1}
        assert self.next_of(db, later) == datetime(2026, 11, 20, 13, tzinfo=UTC)

    def test_missed_times_run_once(self, db: Database, environment: dict[str, str]) -> None:
        scan_id = self.scan(db, self.NOW - timedelta(days=3))
        assert tick.process(self.NOW) == {"started": 1}
        assert len(executions(environment)) == 1
        assert self.next_of(db, scan_id) == datetime(2026, 11, 20, 13, tzinfo=UTC)

    def test_a_scan_that_is_still_running_is_not_started_beside_itself(
        self, db: Database, environment: dict[str, str]
    ) -> None:
        scan_id = self.scan(db, self.NOW)
        assert tick.process(self.NOW) == {"started": 1}
        hour = timedelta(hours=1)
        assert tick.process(self.NOW + hour) == {"started": 0}
        assert self.next_of(db, scan_id) == datetime(2026, 11, 20, 14, tzinfo=UTC)
        db.execute("UPDATE scan_runs SET finished_at = now()")
        assert tick.process(self.NOW + 2 * hour) == {"started": 1}
        assert len(executions(environment)) == 2

    def test_a_paused_scan_is_left_alone(self, db: Database, environment: dict[str, str]) -> None:
        self.scan(db, self.NOW)
        db.execute("UPDATE scans SET enabled = false")
        assert tick.process(self.NOW) == {"started": 0}

    def test_a_tick_passes_over_what_another_one_holds(
        self, db: Database, database_url: str, environment: dict[str, str]
    ) -> None:
        held = self.scan(db, self.NOW - timedelta(minutes=2))
        free = self.scan(db, self.NOW - timedelta(minutes=1))
        with database.connect(database_url) as other, other.transaction():
            row = other.execute(due.DUE_OF_ALL, {"now": self.NOW}).fetchone()
            assert row
            assert str(row["scan_id"]) == held
            run = due.take(self.NOW)
            assert run is not None
            assert str(run.scan_id) == free
            assert due.take(self.NOW) is None

    def test_two_ticks_at_once_start_every_scan_once(
        self,
        db: Database,
        database_url: str,
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        scans = {self.scan(db, self.NOW, f"user-{number}") for number in range(12)}
        own = threading.local()

        def connection() -> Any:
            if not hasattr(own, "connection"):
                own.connection = database.connect(database_url)
            return own.connection

        monkeypatch.setattr(database, "connection", connection)  # each tick has its own, as on Lambda
        ready = threading.Barrier(3)

        def work() -> int:
            ready.wait(10)
            try:
                return tick.process(self.NOW)["started"]
            finally:
                own.connection.close()

        with ThreadPoolExecutor(3) as pool:
            started = [future.result() for future in [pool.submit(work) for _ in range(3)]]
        assert sum(started) == len(scans)
        assert sorted(asked["scan_id"] for asked in executions(environment)) == sorted(scans)
        assert len(db.execute("SELECT FROM scan_runs").fetchall()) == len(scans)

    def test_a_scan_that_cannot_be_read_is_paused_and_holds_nobody_up(
        self, db: Database, environment: dict[str, str]
    ) -> None:
        broken = self.scan(db, self.NOW - timedelta(hours=1), schedule='{"every": "blue moon"}')
        self.scan(db, self.NOW)
        assert tick.process(self.NOW) == {"started": 1}
        row = db.execute("SELECT enabled, next_run_at FROM scans WHERE scan_id = %s", (broken,)).fetchone()
        assert row == {"enabled": False, "next_run_at": None}

    def test_the_run_of_a_time_has_one_id(self) -> None:
        scan_id = uuid4()
        assert due.run_id(scan_id, self.NOW) == due.run_id(scan_id, self.NOW.astimezone())
        assert due.run_id(scan_id, self.NOW) != due.run_id(scan_id, self.NOW + timedelta(hours=1))
