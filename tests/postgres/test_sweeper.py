"""The net under lost messages, and what is done at night."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from functions.nightly import handler as nightly
from functions.sweeper import handler as sweeper
from functions.sweeper import queues
from shared import items, launching
from shared.runs import RunInput
from tests.conftest import Aws, client
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]
QUEUES = ("ImageProcessorQueue", "AnalyzerQueue", "EmbedderQueue", "ScanReporterQueue")


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    function_env("Nightly")
    return function_env("Sweeper")


def sweep() -> dict[str, int]:
    return sweeper.process(lambda: 300.0)


def still(db: Database, status: str, minutes: float = 60, **columns: Any) -> str:
    """An item that has not moved for so long."""
    then = datetime.now(UTC) - timedelta(minutes=minutes)
    return picture(db, "alice", status=status, updated_at=then, created_at=then, vector=None, **columns)


def later(db: Database, minutes: float = 60) -> None:
    """So much time passes."""
    db.execute("UPDATE sweeps SET swept_at = swept_at - make_interval(mins => %s)", (minutes,))


def messages(aws: Aws, queue: str) -> list[dict[str, Any]]:
    sqs, url = client("sqs"), aws.resources.ref(queue)
    taken = []
    while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            taken.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return taken


def test_what_sits_still_is_sent_round_through_the_queue_of_its_stage(
    environment: dict[str, str], aws: Aws, db: Database
) -> None:
    pending = still(db, "pending")
    aws.s3.put_object(Bucket=aws.uploads, Key=f"alice/{pending}/original", Body=b"x")
    messages(aws, "ImageProcessorQueue")  # what S3 said of it is lost
    processed, analyzed = still(db, "processed"), still(db, "analyzed")
    for status in ("ready", "rejected", "failed"):
        still(db, status)
    still(db, "processed", minutes=5)
    assert sweep()["sent"] == 3
    for queue, item in zip(QUEUES, (pending, processed, analyzed), strict=False):
        (message,) = messages(aws, queue)
        assert message["detail"]["data"]["item_id"] == item
        assert message["detail"]["data"]["user_id"] == "alice"
    # Not again before its time.
    assert sweep()["sent"] == 0


def test_a_message_of_the_sweepers_is_one_that_the_stage_understands(
    environment: dict[str, str], aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
) -> None:
    from functions.embedder.handler import lambda_handler
    from tests.conftest import LambdaContext

    item = still(db, "analyzed")
    sweep()
    (message,) = messages(aws, "EmbedderQueue")
    function_env("Embedder", EMBEDDER="offline")
    record = {
        "messageId": "1",
        "receiptHandle": "1",
        "body": json.dumps(message),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSourceARN": aws.resources.attribute("EmbedderQueue", "Arn"),
    }
    assert lambda_handler({"Records": [record]}, LambdaContext()) == {"batchItemFailures": []}
    row = db.execute("SELECT status FROM items WHERE item_id = %s", (item,)).fetchone()
    assert row == {"status": "ready"}


def test_what_a_queue_may_still_hold_is_waited_for(
    environment: dict[str, str], aws: Aws, db: Database
) -> None:
    still(db, "processed")
    client("sqs").send_message(QueueUrl=aws.resources.ref("AnalyzerQueue"), MessageBody="held back")
    assert sweep() == {"sent": 0, "asked": 0, "failed": 0, "waiting": 1, "runs": 0}
    db.execute("UPDATE items SET updated_at = now() - interval '7 hours'")
    assert sweep()["sent"] == 1


def test_after_so_many_times_the_stage_is_asked_and_its_error_ends_the_item(
    environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = still(db, "processed")
    for _ in range(3):
        assert sweep()["sent"] == 1
        messages(aws, "AnalyzerQueue")
        later(db)
    monkeypatch.setattr(queues, "ask", lambda stage, stuck: "ProviderError")
    assert sweep()["failed"] == 1
    row = db.execute(
        "SELECT status, error_code, error_message FROM items WHERE item_id = %s", (item,)
    ).fetchone()
    assert row
    assert (row["status"], row["error_code"]) == ("failed", "stuck")
    assert "analyzer" in row["error_message"]
    assert "ProviderError" in row["error_message"]
    (event,) = aws.published()
    assert (event["detail-type"], event["detail"]["data"]["stage"]) == ("ItemRejected", "analyzer")


def test_a_stage_that_does_its_work_when_it_is_asked_has_done_it(
    environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = still(db, "analyzed")
    db.execute(
        "INSERT INTO sweeps (user_id, item_id, status, object_version, times, swept_at) "
        "VALUES ('alice', %s, 'analyzed', 'v1', 3, now() - interval '1 hour')",
        (item,),
    )
    monkeypatch.setattr(queues, "ask", lambda stage, stuck: None)
    assert sweep()["asked"] == 1
    assert aws.published() == []
    # An item that has moved on begins to be counted anew.
    db.execute("UPDATE items SET status = 'processed', updated_at = now() - interval '1 hour'")
    later(db)
    assert sweep()["sent"] == 1


def test_an_upload_that_never_came_is_not_sent_round(
    environment: dict[str, str], aws: Aws, db: Database
) -> None:
    still(db, "pending", analysis_version=None)
    assert sweep()["waiting"] == 1
    assert messages(aws, "ImageProcessorQueue") == []


class TestRuns:
    def run(self, db: Database, minutes: float = 30) -> RunInput:
        run = RunInput.model_validate({"run_id": uuid4(), "user_id": "alice", "select": {"all": True}})
        launching.create(run)
        db.execute("UPDATE scan_runs SET created_at = now() - make_interval(mins => %s)", (minutes,))
        return run

    def test_a_run_that_was_never_started_is(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        run = self.run(db)
        assert sweep()["runs"] == 1
        arn = f"{environment['STATE_MACHINE_ARN'].replace('stateMachine', 'execution')}:{run.run_id}"
        assert client("stepfunctions").describe_execution(executionArn=arn)["status"] == "RUNNING"
        assert sweep()["runs"] == 0

    def test_a_run_whose_end_nobody_heard_of_is_reported(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        run = self.run(db)
        arn = launching.launch(run)
        client("stepfunctions").stop_execution(executionArn=arn)
        assert sweep()["runs"] == 1
        (message,) = messages(aws, "ScanReporterQueue")
        assert message["detail"] == {"executionArn": arn}

    def test_a_young_run_is_left_to_whoever_starts_it(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        self.run(db, minutes=1)
        assert sweep()["runs"] == 0


class TestNightly:
    def test_the_night_starts_its_runs_once_however_often_it_fires(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        first = nightly.process("2026-11-20")
        assert nightly.process("2026-11-20")["runs"] == first["runs"]
        rows = db.execute("SELECT user_id, kind, request FROM scan_runs ORDER BY kind").fetchall()
        assert [(row["user_id"], row["kind"]) for row in rows] == [("*", "check"), ("*", "nightly")]
        assert rows[1]["request"]["select"] == {"stale": True}
        assert rows[1]["request"]["max_cost_usd"] == 0
        assert rows[1]["request"]["trim"]

    def test_abandoned_uploads_expire_and_say_so(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        gone = still(db, "pending", minutes=1500)
        there = still(db, "pending", minutes=1500)
        young = still(db, "pending", minutes=600)
        aws.s3.put_object(Bucket=aws.uploads, Key=items.uploads_key("alice", there), Body=b"x")  # type: ignore[arg-type]
        assert nightly.process("2026-11-20")["expired"] == 1
        rows = db.execute("SELECT item_id::text, status, error_code FROM items").fetchall()
        assert {row["item_id"]: row["status"] for row in rows} == {
            gone: "failed",
            there: "pending",
            young: "pending",
        }
        (event,) = aws.published()
        assert event["detail"]["data"]["item_id"] == gone


@pytest.mark.parametrize("seed", range(3))
def test_whatever_messages_are_lost_everything_ends(
    seed: int,
    environment: dict[str, str],
    aws: Aws,
    db: Database,
    function_env: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every message that a stage publishes is deleted with even odds: the sweeper brings all to their end."""
    from tests.fakes.pipeline import Pipeline

    for name in ("ImageProcessor", "Analyzer", "Embedder", "Sweeper"):
        function_env(name, ANALYZER="offline", EMBEDDER="offline")
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    pipeline = Pipeline(aws, db)
    monkeypatch.setattr(queues, "ask", pipeline.ask)
    ids = [pipeline.upload("alice", number) for number in range(4)]
    for _ in range(30):
        pipeline.run(lose=lambda: chance.random() < 0.5)
        rows = db.execute("SELECT status FROM items").fetchall()
        if [row["status"] for row in rows] == ["ready"] * len(ids):
            break
        db.execute("UPDATE items SET updated_at = updated_at - interval '1 hour'")
        later(db)
        sweep()
    assert {row["status"] for row in db.execute("SELECT status FROM items").fetchall()} == {"ready"}
