"""The state machine as it is written, run by moto's interpreter against the real handlers and PostgreSQL."""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from PIL import Image

from functions.api import runs as api_runs
from functions.eraser import handler as eraser
from local import machines
from shared import items, launching, runs
from shared.errors import TransientError
from shared.runs import RunInput
from tests.conftest import Aws, LambdaContext, client
from tests.fakes import belongings, money
from tests.fakes.pictures import picture
from tests.fakes.state_machine import Machine, running

Database = psycopg.Connection[dict[str, Any]]
USER = "anna"


@pytest.fixture
def machine(aws: Aws, function_env: Callable[..., dict[str, str]]) -> Iterator[Machine]:
    with running(aws, function_env, ANALYZER="offline", EMBEDDER="offline") as machine:
        yield machine


def jpeg(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), (number * 5 % 256, 90, 200 - number)).save(out, "JPEG")
    return out.getvalue()


def upload(aws: Aws, db: Database, count: int, user_id: str = USER) -> list[UUID]:
    """Originals of items that nobody has looked at, whose events were lost an hour ago."""
    ids = []
    for number in range(count):
        item_id = uuid4()
        key = items.uploads_key(user_id, item_id)
        aws.s3.put_object(Bucket=aws.uploads, Key=key, Body=jpeg(number))
        db.execute(
            """
            INSERT INTO items (user_id, item_id, filename, object_key, updated_at)
            VALUES (%s, %s, 'a.jpg', %s, now() - interval '2 hours')
            """,
            (user_id, item_id, key),
        )
        ids.append(item_id)
    return ids


def run_row(db: Database, run_id: str) -> dict[str, Any]:
    row = db.execute("SELECT * FROM scan_runs WHERE run_id = %s", (run_id,)).fetchone()
    assert row
    return row


def why(ended: dict[str, Any]) -> str:
    """How an execution ended, for the message of a test."""
    return f"{ended['status']}: {ended.get('error')} {ended.get('cause')}"


def results(db: Database, run_id: str) -> dict[str, int]:
    rows = db.execute(
        "SELECT outcome, count(*) AS items FROM scan_results WHERE run_id = %s GROUP BY outcome", (run_id,)
    ).fetchall()
    return {row["outcome"]: row["items"] for row in rows}


def count(db: Database, table: str) -> int:
    from psycopg import sql

    row = db.execute(sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table))).fetchone()
    assert row
    return int(row["n"])


def test_every_stage_runs_over_every_item_and_the_run_is_reported(
    machine: Machine, aws: Aws, db: Database
) -> None:
    ids = upload(aws, db, 5)
    run_id, ended = machine.go(user_id=USER, select={"status": "pending"}, reason="lost events")
    assert ended["status"] == "SUCCEEDED", why(ended)
    rows = db.execute("SELECT status FROM items WHERE user_id = %s", (USER,)).fetchall()
    assert [row["status"] for row in rows] == ["ready"] * len(ids)
    assert results(db, run_id) == {"done": len(ids)}
    row = run_row(db, run_id)
    assert (row["status"], row["planned_items"], row["error_code"]) == ("succeeded", 5, None)
    assert row["summary"]["items"] == {
        "planned": 5,
        "done": 5,
        "ignored": 0,
        "rejected": 0,
        "failed": 0,
        "left": 0,
    }
    assert row["summary"]["stages"].keys() == {"process", "analyze", "embed"}
    assert row["started_at"] <= row["finished_at"]
    # The later stages heard nothing of it by event: only the run's end was told.
    (told,) = aws.published()
    assert told["detail-type"] == "ScanComplete"
    assert told["detail"]["data"]["done"] == 5
    html = aws.s3.get_object(Bucket=aws.media, Key=told["detail"]["data"]["report_key"])["Body"].read()
    assert b"<svg" in html
    assert b"<script" not in html
    # Payloads carry ids only.
    assert max(len(str(payload)) for _, payload in machine.calls) < 2000


def test_the_same_input_again_changes_nothing_and_pays_for_nothing(
    machine: Machine, aws: Aws, db: Database
) -> None:
    upload(aws, db, 3)
    asked = {"user_id": USER, "run_id": str(uuid4()), "select": {"status": "pending"}}
    first = machine.run(asked)
    assert first["status"] == "SUCCEEDED", why(first)
    tables = ("items", "analyses", "embeddings", "model_replies", "usage_ledger", "scan_results")
    before = {table: count(db, table) for table in tables}
    asked |= {"select": {"all": True}}
    again = machine.run(asked)
    assert again["status"] == "SUCCEEDED", why(again)
    assert {table: count(db, table) for table in tables} == before
    assert count(db, "scan_runs") == 1


def described(db: Database, number: int) -> list[str]:
    """Items that only lack their vectors."""
    return [picture(db, USER, f"Picture {each}", status="analyzed", vector=None) for each in range(number)]


def test_one_poisoned_item_of_fifty_is_recorded_and_the_run_goes_on(machine: Machine, db: Database) -> None:
    ids = described(db, 50)
    poisoned = str(ids[17])

    def poison(name: str, payload: dict[str, Any]) -> None:
        if name == "Embedder" and payload.get("item_id") == poisoned:
            raise ValueError('no "quotes" and no \\ backslash breaks JSONata')

    machine.before = poison
    run_id, ended = machine.go(user_id=USER, select={"all": True}, stages=["embed"])
    assert ended["status"] == "SUCCEEDED", why(ended)
    assert results(db, run_id) == {"done": 49, "failed": 1}
    (failed,) = db.execute("SELECT * FROM scan_results WHERE outcome = 'failed'").fetchall()
    assert (str(failed["item_id"]), failed["stage"], failed["code"]) == (poisoned, "embed", "ValueError")
    assert failed["message"] == 'no "quotes" and no \\ backslash breaks JSONata'
    assert (failed["on_process"], failed["on_analyze"], failed["on_embed"]) == (None, None, "failed")
    # A bug is not tried again.
    assert len([p for p in machine.asked("Embedder") if p.get("item_id") == poisoned]) == 1

    # Mended, and what failed in this run is replayed: only this one.
    machine.before = lambda name, payload: None
    again, ended = machine.go(user_id=USER, kind="replay", select={"failed_in": run_id}, stages=["embed"])
    assert ended["status"] == "SUCCEEDED", why(ended)
    assert results(db, again) == {"done": 1}
    rows = db.execute("SELECT count(*) AS n FROM items WHERE status = 'ready'").fetchall()
    assert rows[0]["n"] == 50


def test_what_does_not_fit_is_worth_a_replay_and_the_run_goes_on(
    machine: Machine, aws: Aws, db: Database
) -> None:
    upload(aws, db, 3)
    money.allow(db, USER, items=2)
    run_id, ended = machine.go(user_id=USER, select={"status": "pending"})
    assert ended["status"] == "SUCCEEDED", why(ended)
    assert results(db, run_id) == {"done": 2, "failed": 1}
    (failed,) = db.execute("SELECT * FROM scan_results WHERE outcome = 'failed'").fetchall()
    assert (failed["stage"], failed["code"]) == ("process", "over_quota")
    assert failed["message"].startswith("You have 2 of 2 items")
    assert (failed["on_process"], failed["on_analyze"], failed["on_embed"]) == (
        "failed",
        "ignored",
        "ignored",
    )
    (cause,) = run_row(db, run_id)["summary"]["causes"]
    assert (cause["stage"], cause["code"], cause["items"]) == ("process", "over_quota", 1)

    money.allow(db, USER, items=3)
    again, ended = machine.go(user_id=USER, kind="replay", select={"failed_in": run_id})
    assert ended["status"] == "SUCCEEDED", why(ended)
    assert results(db, again) == {"done": 1}
    assert db.execute("SELECT status FROM items").fetchall() == [{"status": "ready"}] * 3


def test_a_throttled_model_that_recovers_is_waited_for(machine: Machine, aws: Aws, db: Database) -> None:
    upload(aws, db, 2)
    throttled: dict[str, int] = {}

    def throttle(name: str, payload: dict[str, Any]) -> None:
        if name == "Analyzer" and "item_id" in payload:
            throttled[payload["item_id"]] = throttled.get(payload["item_id"], 0) + 1
            if throttled[payload["item_id"]] <= 3:
                raise TransientError("anthropic: throttled")

    machine.before = throttle
    run_id, ended = machine.go(user_id=USER, select={"status": "pending"})
    assert ended["status"] == "SUCCEEDED", why(ended)
    assert results(db, run_id) == {"done": 2}
    assert set(throttled.values()) == {4}
    assert len(machine.pauses) == 6
    # Each attempt knows its number, so that the analyzer can pass on to another provider.
    assert sorted({p["attempt"] for p in machine.asked("Analyzer") if "attempt" in p}) == [1, 2, 3, 4]


def test_a_throttled_model_that_does_not_recover_ends_the_run_early(
    machine: Machine, aws: Aws, db: Database
) -> None:
    described(db, 30)

    def throttle(name: str, payload: dict[str, Any]) -> None:
        if name == "Embedder":
            raise TransientError("voyage: throttled")

    machine.before = throttle
    run_id, ended = machine.go(user_id=USER, select={"status": "analyzed"}, stages=["embed"])
    assert (ended["status"], ended["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    failed = results(db, run_id)["failed"]
    # One more than 20 percent of thirty, and what the other nine were at.
    assert 7 <= failed <= 16
    assert failed + results(db, run_id).get("done", 0) < 30
    first = db.execute("SELECT code, message FROM scan_results LIMIT 1").fetchone()
    assert first == {"code": "TransientError", "message": "voyage: throttled"}
    # Nine times each, and no more.
    assert {
        len([p for p in machine.asked("Embedder") if p.get("item_id") == str(row["item_id"])])
        for row in db.execute("SELECT item_id FROM scan_results").fetchall()
    } == {9}

    # Its end comes as an event, by the queue.
    told = machine.ended_events()
    assert [event["detail"]["status"] for event in told] == ["FAILED"]
    machine.report(told[0])
    row = run_row(db, run_id)
    assert (row["status"], row["error_code"]) == ("failed", "too_many_failures")
    assert row["summary"]["causes"][0]["items"] == failed
    (complete,) = [event for event in aws.published() if event["detail-type"] == "ScanComplete"]
    assert complete["detail"]["data"]["status"] == "failed"

    # The model is back. A restart with the same input goes on with the same run, and ends it.
    machine.before = lambda name, payload: None
    again = machine.run(row["request"])
    assert again["status"] == "SUCCEEDED", why(again)
    row = run_row(db, run_id)
    assert (row["status"], row["error_code"]) == ("succeeded", None)
    rows = db.execute("SELECT count(*) AS n FROM items WHERE status = 'ready'").fetchall()
    assert rows[0]["n"] == 30
    # The late event about the first execution changes nothing any more.
    machine.report(told[0])
    assert run_row(db, run_id)["status"] == "succeeded"


def test_a_redriven_item_begins_again(machine: Machine, aws: Aws, db: Database) -> None:
    """What AWS does in a redrive: the task that failed last, with the same input and one redrive more."""
    (item_id,) = upload(aws, db, 1)

    def throttle(name: str, payload: dict[str, Any]) -> None:
        if name == "Analyzer" and "item_id" in payload:
            raise ValueError("broken")

    machine.before = throttle
    run_id, _ = machine.go(user_id=USER, select={"status": "pending"})
    told = [payload for payload in machine.asked("ScanRecorder") if "failure" in payload][-1]
    assert told["redrive"] == told["failure"]["redrive"] == 0
    answer = machine.invoke_by_name("ScanRecorder", told)
    assert answer["errorType"] == "ItemFailedError"
    (event,) = machine.ended_events()
    machine.report(event)
    assert run_row(db, run_id)["status"] == "failed"
    assert machine.invoke_by_name("ScanRecorder", {**told, "redrive": 1}) == {"again": True}
    assert results(db, run_id) == {"failed": 1}
    # The run is at work again, and is shown so.
    row = run_row(db, run_id)
    assert (row["status"], row["finished_at"], row["summary"]) == ("running", None, None)


def test_a_cancelled_run_stops_and_stays_cancelled(machine: Machine, aws: Aws, db: Database) -> None:
    described(db, 40)
    begun, go_on = threading.Event(), threading.Event()

    def wait(name: str, payload: dict[str, Any]) -> None:
        if name == "Embedder":
            begun.set()
            assert go_on.wait(30)

    machine.before = wait
    run_id = uuid4()
    asked = RunInput.model_validate(
        {"run_id": run_id, "user_id": USER, "select": {"all": True}, "stages": ["embed"]}
    )
    launching.start(asked)
    assert begun.wait(30)
    machine.release(lambda: api_runs.cancel(USER, run_id))
    go_on.set()
    ended = machine.wait(runs.execution_arn(machine.arn, str(run_id)))
    assert ended["status"] == "ABORTED"
    (event,) = machine.ended_events()
    machine.report(event)
    row = run_row(db, str(run_id))
    assert (row["status"], row["error_code"]) == ("cancelled", "cancelled")
    assert sum(results(db, str(run_id)).values()) < 40
    assert row["summary"]["items"]["left"] > 0


def test_a_run_that_is_stopped_between_two_items_has_not_failed(
    machine: Machine, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(db, 40)
    run_item = machines.MapRun._item

    def stopped_before(run: machines.MapRun, number: int, item: Any) -> tuple[Any, bool]:
        (execution,) = client("stepfunctions").list_executions(stateMachineArn=machine.arn)["executions"]
        client("stepfunctions").stop_execution(executionArn=execution["executionArn"])
        return run_item(run, number, item)

    monkeypatch.setattr(machines.MapRun, "_item", stopped_before)
    monkeypatch.setattr(machines.MapRun, "_tolerated", lambda run, total: 0.0)
    _, ended = machine.go(user_id=USER, select={"all": True}, stages=["embed"])
    assert ended["status"] == "ABORTED"


def test_a_run_whose_owner_is_erased_stops_and_leaves_nothing(
    machine: Machine, aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
) -> None:
    function_env("Eraser")
    described(db, 30)
    done: list[str] = []

    def erase(name: str, payload: dict[str, Any]) -> None:
        if name == "Embedder":
            done.append(payload["item_id"])
        if len(done) == 3 and name == "Embedder":
            eraser.lambda_handler({"user_id": USER}, LambdaContext(remaining_ms=900_000))

    machine.before = erase
    run_id, ended = machine.go(user_id=USER, select={"all": True}, stages=["embed"])
    assert ended["status"] == "ABORTED"
    assert len(done) < 30
    # What Step Functions writes when it ends a Map, and the event that says so.
    results_key = f"{runs.folder(USER, UUID(run_id))}/results/manifest.json"
    aws.s3.put_object(Bucket=aws.media, Key=results_key, Body=b"{}")
    (event,) = machine.ended_events()
    assert machine.report(event) == {"status": "ignored"}
    left = belongings.rows(db, USER)
    assert {table: count for table, count in left.items() if count} == {"erasures": 1}
    assert belongings.object_versions(aws, USER) == []
    assert aws.published() == []


def test_a_night_describes_anew_what_is_stale_and_compares_objects_with_rows(
    machine: Machine, aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
) -> None:
    function_env("Nightly", ANALYZER="offline", EMBEDDER="offline")
    ids = upload(aws, db, 3)
    machine.go(user_id=USER, select={"status": "pending"})
    db.execute("UPDATE analyses SET prompt_hash = 'old' WHERE item_id = ANY (%s)", (ids[:2],))
    db.execute("UPDATE items SET updated_at = now() - interval '1 day'")
    aws.s3.delete_object(Bucket=aws.uploads, Key=items.uploads_key(USER, ids[0]))
    began = machine.invoke_by_name("Nightly", {})
    for run_id in began["runs"]:
        ended = machine.wait(runs.execution_arn(machine.arn, run_id))
        assert ended["status"] == "SUCCEEDED", why(ended)
    described_anew, compared = (run_row(db, run_id) for run_id in began["runs"])
    # The offline model costs nothing, and so fits into no budget at all.
    assert described_anew["request"]["max_cost_usd"] == 0
    assert described_anew["summary"]["items"]["done"] == 2
    rows = db.execute("SELECT item_id, max(version) AS version FROM analyses GROUP BY item_id").fetchall()
    assert {row["item_id"]: row["version"] for row in rows} == {ids[0]: 2, ids[1]: 2, ids[2]: 1}
    assert compared["summary"]["findings"] == {"originals_missing": 1}


def test_a_dry_run_ends_with_its_estimate(machine: Machine, aws: Aws, db: Database) -> None:
    upload(aws, db, 2)
    run_id, ended = machine.go(user_id=USER, select={"status": "pending"}, dry_run=True)
    assert ended["status"] == "SUCCEEDED", why(ended)
    row = run_row(db, run_id)
    assert row["status"] == "planned"
    assert row["estimate"]["items"] == row["estimate"]["analyses"] == 2
    assert row["estimate"]["usd"] == 0
    assert machine.asked("ImageProcessor") == []
    assert aws.published() == []


def test_a_run_over_everybody_is_the_operators(machine: Machine, aws: Aws, db: Database) -> None:
    upload(aws, db, 2, "anna")
    upload(aws, db, 2, 'name, with "quotes" and 100%')
    ended = machine.run({"select": {"status": "pending"}, "reason": "from the console"})
    assert ended["status"] == "SUCCEEDED", why(ended)
    row = db.execute("SELECT * FROM scan_runs").fetchone()
    assert row
    assert (row["user_id"], row["kind"], row["status"]) == ("*", "console", "succeeded")
    assert row["summary"]["items"]["done"] == 4
    owners = db.execute("SELECT DISTINCT user_id, run_owner FROM scan_results ORDER BY 1").fetchall()
    assert [each["user_id"] for each in owners] == ["anna", 'name, with "quotes" and 100%']


def test_a_prefix_of_originals_is_brought_in(machine: Machine, aws: Aws, db: Database) -> None:
    keys = [f'anna/archive/{number} ü,".jpg' for number in range(3)]
    for number, key in enumerate(keys):
        aws.s3.put_object(Bucket=aws.uploads, Key=key, Body=jpeg(number))
    aws.s3.put_object(Bucket=aws.uploads, Key="anna/archive/", Body=b"")
    ended = machine.run({"prefix": "anna/archive/", "kind": "ingest"})
    assert ended["status"] == "SUCCEEDED", why(ended)
    rows = db.execute("SELECT object_key, status FROM items ORDER BY object_key").fetchall()
    assert [(row["object_key"], row["status"]) for row in rows] == [(key, "processed") for key in keys]
    # From here on the queues take them on, as after any upload.
    assert [event["detail-type"] for event in aws.published()].count("ImageProcessed") == 3


def test_a_check_reports_what_is_missing_and_what_nobody_names(
    machine: Machine, aws: Aws, db: Database
) -> None:
    ids = upload(aws, db, 3)
    machine.go(user_id=USER, select={"status": "pending"})
    db.execute("UPDATE items SET updated_at = now() - interval '1 day'")
    aws.s3.delete_object(Bucket=aws.uploads, Key=items.uploads_key(USER, ids[0]))
    aws.s3.delete_object(Bucket=aws.media, Key=items.thumbnail_key(USER, ids[1]))
    machine.calls.clear()
    run_id, ended = machine.go(user_id=USER, kind="check", check="objects")
    assert ended["status"] == "SUCCEEDED", why(ended)
    found = db.execute("SELECT kind, item_id FROM scan_findings ORDER BY kind").fetchall()
    assert [(row["kind"], row["item_id"]) for row in found] == [
        ("originals_missing", ids[0]),
        ("thumbnails_missing", ids[1]),
    ]
    assert run_row(db, run_id)["summary"]["findings"] == {"originals_missing": 1, "thumbnails_missing": 1}
