"""The net under lost messages, and what is done at night."""

import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from PIL import Image

from functions.analyzer import claude
from functions.nightly import forgotten
from functions.nightly import handler as nightly
from functions.sweeper import executions, held, queues, rows
from functions.sweeper import handler as sweeper
from shared import database, deletion, erasures, items, launching, quotas, runs
from shared.errors import TransientError
from shared.runs import RunInput
from tests.conftest import Aws, LambdaContext, client
from tests.fakes import money
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]
QUEUES = ("ImageProcessorQueue", "AnalyzerQueue", "EmbedderQueue", "ScanReporterQueue")


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    function_env("Nightly")
    return function_env("Sweeper")


def night() -> dict[str, Any]:
    return nightly.process("2026-11-20", lambda: 300.0)


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
    assert sweep() == {
        "sent": 0,
        "asked": 0,
        "failed": 0,
        "waiting": 1,
        "runs": 0,
        "expired": 0,
        "resumed": 0,
    }
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


def test_uploads_that_never_came_hold_nobody_up(
    environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "AT_ONCE", 1)
    for _ in range(3):
        still(db, "pending", minutes=900, analysis_version=None)
    still(db, "processed")
    assert (swept := sweep())["sent"] == 1
    assert swept["waiting"] == 1


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
        db.execute(
            "UPDATE scan_runs SET created_at = now() - make_interval(mins => %s) WHERE run_id = %s",
            (minutes, run.run_id),
        )
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

    def test_runs_that_go_on_for_days_hide_none_behind_them(
        self, environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executions, "PAGE", 1)
        for minutes in (3000, 2000):
            launching.launch(self.run(db, minutes))
        self.run(db, minutes=60)
        assert sweep()["runs"] == 1

    def test_a_young_run_is_left_to_whoever_starts_it(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        self.run(db, minutes=1)
        assert sweep()["runs"] == 0


class TestNightly:
    def test_the_night_starts_its_runs_once_however_often_it_fires(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        first = night()
        assert night()["runs"] == first["runs"]
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
        assert night()["expired"] == 1
        rows = db.execute("SELECT item_id::text, status, error_code FROM items").fetchall()
        assert {row["item_id"]: row["status"] for row in rows} == {
            gone: "failed",
            there: "pending",
            young: "pending",
        }
        (event,) = aws.published()
        assert event["detail"]["data"]["item_id"] == gone

    def test_an_abandoned_upload_gives_its_bytes_back_and_stays_an_item(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        still(db, "pending", minutes=1500, counted=True, counted_bytes=700)
        db.execute(
            "INSERT INTO usage_counters (user_id, meter, used)"
            " VALUES ('alice', 'items', 1), ('alice', 'storage_bytes', 1000)"
        )
        assert night()["expired"] == 1
        rows = db.execute("SELECT meter, used FROM usage_counters WHERE user_id = 'alice'").fetchall()
        assert {row["meter"]: row["used"] for row in rows} == {"items": 1, "storage_bytes": 300}
        assert db.execute("SELECT counted, counted_bytes FROM items").fetchone() == {
            "counted": True,
            "counted_bytes": 0,
        }


class TestHeld:
    """What waits because it did not fit goes on by itself once there is room."""

    def held(
        self,
        db: Database,
        meter: str = "model_usd",
        held_status: str = "processed",
        wanted: str | None = "0.01",
        user: str = "alice",
        **columns: Any,
    ) -> str:
        """An item that waits; each one younger than the one before."""
        item = picture(
            db,
            user,
            status="over_quota",
            held_status=held_status,
            error_code=meter,
            error_message="It does not fit.",
            created_at=datetime.now(UTC),
            vector=None,
            **columns,
        )
        if wanted and meter in ("model_usd", "deployment"):
            with database.transaction() as cursor:
                items.record(cursor, user, UUID(item), "analyzer", "over_quota", detail={"wanted": wanted})
        return item

    def waiting(self, db: Database) -> list[str]:
        rows = db.execute(
            "SELECT item_id::text FROM items WHERE status = 'over_quota' ORDER BY created_at"
        ).fetchall()
        return [row["item_id"] for row in rows]

    @pytest.mark.parametrize(
        ("held_status", "queue"),
        [("pending", QUEUES[0]), ("processed", QUEUES[1]), ("analyzed", QUEUES[2])],
    )
    def test_it_goes_on_from_where_it_was(
        self, environment: dict[str, str], aws: Aws, db: Database, held_status: str, queue: str
    ) -> None:
        money.allow(db, "alice", model_usd_per_month=0, items=0, storage_bytes=0)
        meter = "items" if held_status == "pending" else "model_usd"
        item = self.held(db, meter, held_status)
        assert sweep()["resumed"] == 0
        assert all(messages(aws, each) == [] for each in QUEUES)
        money.allow(db, "alice", model_usd_per_month=1, items=1, storage_bytes=0)
        assert sweep()["resumed"] == 1
        (message,) = messages(aws, queue)
        assert message["detail"]["data"]["item_id"] == item
        row = db.execute("SELECT status, held_status, error_code, error_message FROM items").fetchone()
        assert row == {
            "status": held_status,
            "held_status": None,
            "error_code": None,
            "error_message": None,
        }
        (line,) = db.execute("SELECT stage, event, detail FROM item_events WHERE event <> 'over_quota'")
        assert (line["stage"], line["event"], line["detail"]) == ("sweeper", "resumed", {"code": meter})
        assert sweep()["resumed"] == 0
        assert messages(aws, queue) == []

    def test_the_oldest_go_first_and_no_more_than_fit(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        money.allow(db, "alice", model_usd_per_month=0.035, items=2, storage_bytes=1000)
        calls = [self.held(db) for _ in range(5)]
        money.allow(db, "bob", items=2, storage_bytes=1000)
        uploads = [self.held(db, "items", "pending", user="bob") for _ in range(3)]
        money.allow(db, "carol", storage_bytes=1000)
        sizes = [
            self.held(db, "storage_bytes", "pending", user="carol", file_size=size)
            for size in (600, 2000, 300, 600, 100)
        ]
        assert sweep()["resumed"] == 3 + 2 + 3
        assert self.waiting(db) == [*calls[3:], uploads[2], sizes[1], sizes[3]]

    def test_a_thousand_without_room_cost_no_message(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        money.allow(db, "alice", model_usd_per_month=1)
        money.spend(db, "alice", 1)
        db.execute(
            "INSERT INTO items (user_id, item_id, filename, object_key, status, held_status, error_code)"
            " SELECT 'alice', gen_random_uuid(), 'a', 'a', 'over_quota', 'processed', 'model_usd'"
            " FROM generate_series(1, 1000)"
        )
        from tests.sql_capture import recording

        with recording() as sent:
            assert sweep()["resumed"] == 0
        assert len(sent) < 25
        assert messages(aws, "AnalyzerQueue") == []
        # With room for all of them they go in portions.
        money.allow(db, "alice")
        assert sweep()["resumed"] == held.AT_ONCE
        assert len(messages(aws, "AnalyzerQueue")) == held.AT_ONCE

    def test_everybodys_budget_is_shared_by_who_waits_longest(
        self, environment: dict[str, str], aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
    ) -> None:
        function_env("Sweeper", MODEL_BUDGET_USD="0.025")
        for user in ("alice", "bob", "carol"):
            self.held(db, "deployment", user=user, wanted="0.01")
        money.allow(db, "alice", model_usd_per_month=0)  # whose own month is used up as well
        assert sweep()["resumed"] == 2
        rows = db.execute("SELECT user_id FROM items WHERE status = 'over_quota'").fetchall()
        assert rows == [{"user_id": "alice"}]

    def test_the_month_turns_and_everything_goes_on(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        money.allow(db, "alice", model_usd_per_month=1)
        money.spend(db, "alice", 1)
        self.held(db)
        assert sweep()["resumed"] == 0
        db.execute("UPDATE usage_counters SET period = '2000-01' WHERE meter = 'model_usd'")
        assert sweep()["resumed"] == 1

    def test_what_may_need_less_by_now_is_tried_after_a_while(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        money.allow(db, "alice", model_usd_per_month=0.01)
        for _ in range(2):
            self.held(db, wanted="5")
        assert sweep()["resumed"] == 0
        db.execute("UPDATE items SET updated_at = now() - interval '7 hours'")
        assert sweep()["resumed"] == 1

    def test_changed_limits_are_followed_at_once_for_whom_they_are_of(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        from shared.bus import entry
        from shared.events import LimitsChanged

        self.held(db)
        self.held(db, user="bob")
        still(db, "processed")
        told = entry(LimitsChanged(user_id="bob", tier="plus"), "bus", "c", datetime.now(UTC))
        envelope = {"id": "1", "detail-type": told["DetailType"], "detail": json.loads(told["Detail"])}
        answer = sweeper.lambda_handler(envelope, LambdaContext(remaining_ms=300_000))
        assert (answer["resumed"], answer["sent"]) == (1, 0)
        (message,) = messages(aws, "AnalyzerQueue")
        assert message["detail"]["data"]["user_id"] == "bob"

    def test_a_crash_before_the_message_leaves_an_item_that_sits_still(
        self, environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any) -> None:
            raise TransientError("SQS did not take a message")

        self.held(db)
        with monkeypatch.context() as broken:
            broken.setattr(queues, "send", away)
            with pytest.raises(TransientError):
                sweep()
        db.execute("UPDATE items SET updated_at = now() - interval '1 hour'")
        assert sweep()["sent"] == 1

    def test_what_a_stage_is_just_at_is_left_alone(
        self, environment: dict[str, str], aws: Aws, db: Database, database_url: str
    ) -> None:
        item = self.held(db)
        with database.connect(database_url) as other, other.transaction():
            other.execute("SELECT FROM items WHERE item_id = %s FOR UPDATE", (item,))
            assert sweep()["resumed"] == 0
        assert sweep()["resumed"] == 1

    def test_what_nobody_gave_back_expires(self, environment: dict[str, str], aws: Aws, db: Database) -> None:
        for seconds in (-1, 60):
            quotas.reserve_money("alice", "analyzer", Decimal("0.5"), timedelta(seconds=seconds))
        assert sweep()["expired"] == 1
        assert money.books(db) == {"alice": Decimal("0.5"), "*": Decimal("0.5")}

    @pytest.mark.parametrize(("limit", "spent", "percent"), [("2", 1.5, 75), ("2", 1.6, 80), ("0", 0, 0)])
    def test_how_much_of_the_budget_is_used_is_measured(
        self,
        environment: dict[str, str],
        aws: Aws,
        db: Database,
        function_env: Callable[..., dict[str, str]],
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        limit: str,
        spent: float,
        percent: float,
    ) -> None:
        function_env("Sweeper", MODEL_BUDGET_USD=limit)
        money.spend(db, "alice", spent)
        sweep()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (metric,) = [line for line in lines if "_aws" in line]
        assert metric["ModelBudgetUsedPercent"] == [percent]
        (directive,) = metric["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Magpie/dev"
        alarm = aws.template.resources["ModelBudgetAlarm"].properties
        named = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert directive["Dimensions"] == [list(named)]
        assert {name: metric[name] for name in named} == named
        assert ("nearly used up" in caplog.text) is (percent >= alarm["Threshold"])


class TestUnfinished:
    """What was promised to be deleted, and is not yet."""

    def half_done(self, db: Database, aws: Aws, minutes: float = 60, key: str = "alice/cat.jpg") -> UUID:
        """A deletion that stopped before its objects were removed."""
        item_id = uuid4()
        for _ in range(2):
            aws.s3.put_object(Bucket=aws.uploads, Key=key, Body=b"x")
        for each in (items.image_key("alice", item_id), items.thumbnail_key("alice", item_id)):
            aws.s3.put_object(Bucket=aws.media, Key=each, Body=b"x")
        db.execute(
            "INSERT INTO deleted_items (user_id, item_id, object_key, deleted_at)"
            " VALUES ('alice', %s, %s, now() - make_interval(mins => %s))",
            (item_id, key, minutes),
        )
        return item_id

    def left(self, aws: Aws) -> int:
        pages = [aws.s3.list_object_versions(Bucket=bucket) for bucket in (aws.uploads, aws.media)]
        return sum(len(page.get("Versions", [])) for page in pages)

    def test_a_deletion_that_stopped_half_way_is_finished(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        item_id = self.half_done(db, aws)
        assert night()["deletions"] == 1
        assert self.left(aws) == 0
        (mark,) = db.execute("SELECT item_id, objects_removed_at FROM deleted_items").fetchall()
        assert mark["item_id"] == item_id
        assert mark["objects_removed_at"]
        assert night()["deletions"] == 0

    def test_one_of_just_now_is_left_to_whoever_is_at_it(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        self.half_done(db, aws, minutes=5)
        assert night()["deletions"] == 0
        assert self.left(aws) == 4

    def test_what_lies_under_a_key_that_is_used_again_is_another_items(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        item_id = self.half_done(db, aws)
        assert deletion.finish("alice", item_id, aws.uploads, aws.media)
        aws.s3.put_object(Bucket=aws.uploads, Key="alice/cat.jpg", Body=b"new")
        assert deletion.finish("alice", item_id, aws.uploads, aws.media) is None
        assert night()["deletions"] == 0
        assert self.left(aws) == 1

    def test_one_that_cannot_be_finished_holds_up_neither_others_nor_the_rest_of_the_night(
        self,
        environment: dict[str, str],
        aws: Aws,
        db: Database,
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        held = self.half_done(db, aws, minutes=120)
        self.half_done(db, aws, key="alice/dog.jpg")
        erasure_id = self.asked(db, "2 hours")
        monkeypatch.setattr(deletion, "WAIT_SECONDS", 1)
        with database.connect(database_url) as other, other.transaction():
            other.execute("SELECT FROM deleted_items WHERE item_id = %s FOR UPDATE", (held,))
            with pytest.raises(TransientError, match="not done yet: deletions"):
                night()
        rows = db.execute("SELECT item_id FROM deleted_items WHERE objects_removed_at IS NULL").fetchall()
        assert [row["item_id"] for row in rows] == [held]
        assert [event["detail"]["data"]["erasure_id"] for event in aws.published()] == [str(erasure_id)]

    def asked(self, db: Database, age: str, finished: bool = False) -> UUID:
        with database.transaction() as cursor:
            row = erasures.begin(cursor, f"user-{uuid4()}", uuid4())
        db.execute(
            "UPDATE erasures SET requested_at = now() - %s::interval,"
            " finished_at = CASE WHEN %s THEN now() - %s::interval END WHERE erasure_id = %s",
            (age, finished, age, row["erasure_id"]),
        )
        erasure_id: UUID = row["erasure_id"]
        return erasure_id

    def test_an_erasure_that_is_not_finished_is_asked_for_again(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        lost = self.asked(db, "2 hours")
        self.asked(db, "10 minutes")
        self.asked(db, "2 hours", finished=True)
        assert night()["erasures"] == 1
        (event,) = aws.published()
        assert event["detail-type"] == "ErasureRequested"
        assert event["detail"]["data"]["erasure_id"] == str(lost)

    def test_what_is_promised_has_been_kept_for_long_enough_after_30_days(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        kept = {self.asked(db, "29 days", finished=True), self.asked(db, "40 days")}
        self.asked(db, "31 days", finished=True)
        for days in (31, 29):
            db.execute(
                "INSERT INTO deleted_items (user_id, item_id, object_key, deleted_at, objects_removed_at)"
                " VALUES ('alice', gen_random_uuid(), 'a', now() - make_interval(days => %s), now())",
                (days,),
            )
        assert (done := night())["marks"] == 1
        assert done["receipts"] == 1
        assert {row["erasure_id"] for row in db.execute("SELECT erasure_id FROM erasures").fetchall()} == kept
        assert len(db.execute("SELECT FROM deleted_items").fetchall()) == 1

    def test_what_others_told_goes_in_time_but_for_what_a_subscription_is_worked_out_from(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        told = [
            ("stripe", "applied", 500),
            ("stripe", "failed", 500),
            ("stripe", "ignored", 89),
            ("stripe", "ignored", 91),
            ("stripe", "waiting", 91),
            ("sns", "applied", 91),
            ("sns", "applied", 89),
        ]
        for number, (provider, outcome, days) in enumerate(told):
            db.execute(
                "INSERT INTO webhook_events (provider, event_id, event_type, occurred_at, received_at, body,"
                " outcome) VALUES (%(provider)s, %(id)s, 'any', now(),"
                " now() - make_interval(days => %(days)s), '{}', %(outcome)s)",
                {"provider": provider, "id": str(number), "days": days, "outcome": outcome},
            )
        for days in (399, 401):
            db.execute(
                "INSERT INTO mails (user_id, mail_id, kind, occasion, created_at)"
                " VALUES ('alice', gen_random_uuid(), 'quota', %(days)s,"
                " now() - make_interval(days => %(days)s))",
                {"days": days},
            )
            db.execute(
                "INSERT INTO email_events (event_id, address_key, message_id, event_type, occurred_at)"
                " VALUES (%(days)s, 'a', 'm', 'Delivery', now() - make_interval(days => %(days)s))",
                {"days": days},
            )
        done = night()
        assert (done["webhooks"], done["mails"], done["mail_events"]) == (3, 1, 1)
        left = db.execute("SELECT event_id FROM webhook_events ORDER BY event_id").fetchall()
        assert [row["event_id"] for row in left] == ["0", "1", "2", "6"]


class TestForgotten:
    """What is kept of runs, and for how long."""

    def ended(self, db: Database, aws: Aws, owner: str, days: int, items: int = 3) -> UUID:
        """A run that ended so long ago, with results, a finding, and a report."""
        run_id = uuid4()
        key = runs.report_key(owner, run_id)
        then = datetime.now(UTC) - timedelta(days=days)
        db.execute(
            "INSERT INTO scan_runs (user_id, run_id, kind, request, created_at, finished_at, report_key)"
            " VALUES (%s, %s, 'reprocess', '{}', %s, %s, %s)",
            (owner, run_id, then, then, key),
        )
        for _ in range(items):
            db.execute(
                "INSERT INTO scan_results (user_id, run_id, item_id, run_owner, outcome, began_at)"
                " VALUES ('alice', %s, gen_random_uuid(), %s, 'done', now())",
                (run_id, owner),
            )
        db.execute(
            "INSERT INTO scan_findings (user_id, run_id, kind, subject, run_owner)"
            " VALUES ('alice', %s, 'images_missing', 'a', %s)",
            (run_id, owner),
        )
        for suffix in ("html", "json"):
            aws.s3.put_object(Bucket=aws.media, Key=f"{key}.{suffix}", Body=b"x")
        return run_id

    def count(self, db: Database, table: str, run_id: UUID) -> int:
        query = psycopg.sql.SQL("SELECT FROM {} WHERE run_id = %s").format(psycopg.sql.Identifier(table))
        return len(db.execute(query, (run_id,)).fetchall())

    def reports(self, aws: Aws) -> set[str]:
        found = aws.s3.list_objects_v2(Bucket=aws.media).get("Contents", [])
        return {each["Key"].rpartition(".")[0] for each in found}

    def test_results_and_findings_go_after_30_days_and_the_run_with_its_report_after_400(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        young, old, oldest = (self.ended(db, aws, "alice", days) for days in (29, 31, 401))
        others, operators = self.ended(db, aws, "*", 29), self.ended(db, aws, "*", 31)
        assert (done := night())["results"] == 9
        assert (done["findings"], done["old_runs"]) == (3, 2)
        for run_id, results, row in (
            (young, 3, 1),
            (old, 0, 1),
            (oldest, 0, 0),
            (others, 3, 1),
            (operators, 0, 0),
        ):
            assert self.count(db, "scan_results", run_id) == results
            assert self.count(db, "scan_findings", run_id) == results // 3
            assert self.count(db, "scan_runs", run_id) == row
        assert self.reports(aws) == {
            runs.report_key(owner, run_id)
            for owner, run_id in (("alice", young), ("alice", old), ("*", others))
        }

    def test_it_goes_in_small_batches_for_as_long_as_there_is_time(
        self, environment: dict[str, str], aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forgotten, "CHUNK", 2)
        monkeypatch.setattr(forgotten, "RUNS", 1)
        for _ in range(2):
            self.ended(db, aws, "alice", 401)
        looks = iter([True, True, False])
        assert forgotten.rows(forgotten.RESULTS_OF_ALL, lambda: next(looks)) == 4
        # A run that still has results is left: deleting it would delete them all at once.
        assert forgotten.runs(aws.media, lambda: True) == 0
        assert forgotten.rows(forgotten.RESULTS_OF_ALL, lambda: True) == 2
        assert forgotten.rows(forgotten.FINDINGS_OF_ALL, lambda: True) == 2
        assert forgotten.runs(aws.media, lambda: True) == 2
        assert self.reports(aws) == set()

    def test_a_night_without_time_leaves_everything_for_the_next(
        self, environment: dict[str, str], aws: Aws, db: Database
    ) -> None:
        self.ended(db, aws, "alice", 401)
        assert nightly.process("2026-11-20", lambda: 10.0)["old_runs"] == 0
        assert night()["old_runs"] == 1


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


@pytest.mark.parametrize("seed", range(2))
def test_whatever_limits_there_are_everything_goes_on_in_the_end_and_is_paid_once(
    seed: int,
    environment: dict[str, str],
    aws: Aws,
    db: Database,
    function_env: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Limits rise little by little, messages are lost: no limit is passed, and all is done and paid once."""
    from tests.fakes import anthropic_server, voyage_server
    from tests.fakes.pipeline import Pipeline

    chance = random.Random(seed)  # noqa: S311 - a test's dice
    with anthropic_server.AnthropicServer() as server, voyage_server.running() as voyage:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        claude.forget()  # a client that is kept knows another server
        for name in ("ImageProcessor", "Analyzer", "Embedder", "Sweeper"):
            function_env(name, ANALYZER="anthropic", EMBEDDER="voyage", VOYAGE_BASE_URL=voyage.base_url)
        aws.put_parameter("/magpie/dev/anthropic-api-key", "sk-not-a-real-key")
        aws.put_parameter("/magpie/dev/voyage-api-key", voyage_server.KEY)
        server.will_answer(*(anthropic_server.message() for _ in range(5)))
        pipeline = Pipeline(aws, db)
        monkeypatch.setattr(queues, "ask", pipeline.ask)
        limits = {"items": 0.0, "storage_bytes": 0.0, "model_usd_per_month": 0.0}
        steps = {"items": 1, "storage_bytes": 900, "model_usd_per_month": 0.008}
        money.allow(db, "alice", **limits)
        for number in range(3, 5):
            body = io.BytesIO()
            Image.new("RGB", (32, 24), (90, 50 * number, 20)).save(body, "JPEG")
            aws.s3.put_object(Bucket=aws.uploads, Key=f"alice/{number}.jpg", Body=body.getvalue())
        pipeline.run(lose=lambda: False)  # of an object whose only event is lost, no row knows
        for number in range(3):
            pipeline.upload("alice", number)
        for _ in range(60):
            money.allow(db, "alice", **limits)
            pipeline.run(lose=lambda: chance.random() < 0.3)
            used = {quota.meter: quota for quota in quotas.standing("alice")}
            assert all(quota.limit is None or quota.used <= quota.limit for quota in used.values())
            money.books(db)
            statuses = [row["status"] for row in db.execute("SELECT status FROM items").fetchall()]
            if statuses == ["ready"] * 5:
                break
            raised = chance.choice(list(limits))
            limits[raised] += steps[raised]
            db.execute("UPDATE items SET updated_at = updated_at - interval '1 hour'")
            later(db)
            sweep()
        assert statuses == ["ready"] * 5
        assert len(server.asked) == 5
        assert money.set_aside(db) == 0
        rows = db.execute("SELECT sum(file_size) AS bytes, count(*) AS items FROM items").fetchone()
        assert rows
        assert (used["items"].used, used["storage_bytes"].used) == (rows["items"], rows["bytes"])
        by_stage = db.execute(
            "SELECT stage, count(DISTINCT item_id) AS items, count(*) AS calls FROM usage_ledger"
            " GROUP BY stage ORDER BY stage"
        ).fetchall()
        assert by_stage[0] == {"stage": "analyzer", "items": 5, "calls": 5}
        claude.forget()
