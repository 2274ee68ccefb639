"""The analyzer from event to row: paid once, stored for good, and never more than asked for.

Everything is real but AWS (moto) and the model (a local server behind the real SDK).
"""

import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from moto import mock_aws
from PIL import Image

from functions.analyzer import chain, claude, handler, models, prompt, replies, versions
from functions.analyzer.verdict import PATIENCE, ProviderError
from shared import database, items, objects, quotas
from shared.errors import PublishError, TransientError
from tests.conftest import Aws, LambdaContext
from tests.fakes import money
from tests.fakes.anthropic_server import (
    Answer,
    AnthropicServer,
    analysis,
    bedrock_error,
    error,
    message,
    refusal,
)

ROOT = Path(__file__).resolve().parents[2]
KEY_PARAMETER = "/magpie/dev/anthropic-api-key"
ANA, BEN = "ana", "ben"
FIRST = UUID("5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d")
SECOND = UUID("6f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3e")
SIZE = (640, 420)
TABLES = (
    "items",
    "item_events",
    "analyses",
    "model_replies",
    "usage_ledger",
    "search_documents",
    "embeddings",
)
SHA = hashlib.sha256(b"the original").hexdigest()


def jpeg(size: tuple[int, int] = SIZE) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", quality=80)
    return out.getvalue()


class Stage:
    """The analyzer in its environment, and what a test does with it."""

    def __init__(self, aws: Aws, server: AnthropicServer, db: "psycopg.Connection[dict[str, Any]]") -> None:
        self.aws, self.server, self.db = aws, server, db

    def processed(
        self, user: str = ANA, item: UUID = FIRST, sha256: str = SHA, version: str | None = "v1", **more: Any
    ) -> None:
        """Arrange what the image processor leaves: a row, and a web image."""
        row = {
            "user_id": user,
            "item_id": item,
            "filename": "Coffee_at-home.jpg",
            "status": "processed",
            "object_key": f"{user}/{item}/original",
            "object_version": version,
            "sha256": sha256,
            "image_width": SIZE[0],
            "image_height": SIZE[1],
            **more,
        }
        columns = ", ".join(row)
        self.db.execute(
            f"INSERT INTO items ({columns}) VALUES ({', '.join(['%s'] * len(row))})",  # noqa: S608 - our own names
            list(row.values()),
        )
        objects.write(self.aws.media, items.image_key(user, item), jpeg(), "image/jpeg", sha256)

    def ask(self, user: str = ANA, item: UUID = FIRST, **more: Any) -> dict[str, Any]:
        """Call it with a direct payload: errors are raised."""
        payload = {"user_id": user, "item_id": str(item), **more}
        return handler.lambda_handler(payload, LambdaContext())

    def deliver(
        self, user: str = ANA, item: UUID = FIRST, version: str | None = "v1", attempt: int = 1, **more: Any
    ) -> list[dict[str, str]]:
        """Call it as the queue does, and return what goes back to the queue."""
        data = {
            "user_id": user,
            "item_id": str(item),
            "object_version": version,
            "bucket": "somebody-elses-bucket",
            "image_key": f"{BEN}/images/{item}.jpg",
            "thumbnail_key": "k",
            "width": 6000,
            "height": 4000,
            **more,
        }
        detail = {"metadata": {"version": "1", "correlation_id": "c-1"}, "data": data}
        envelope = {"id": "e-1", "detail-type": "ImageProcessed", "source": "magpie", "detail": detail}
        record = {
            "messageId": "m-1",
            "receiptHandle": "r-1",
            "body": json.dumps(envelope),
            "attributes": {"ApproximateReceiveCount": str(attempt)},
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:analyzer",
        }
        answer = handler.lambda_handler({"Records": [record]}, LambdaContext())
        failures: list[dict[str, str]] = answer["batchItemFailures"]
        return failures

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.db.execute(query, values).fetchall()

    def item(self, user: str = ANA, item: UUID = FIRST) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM items WHERE user_id = %s AND item_id = %s", user, item)
        return row

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        return {table: self.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in TABLES}  # noqa: S608

    def calls(self) -> int:
        return len(self.server.asked)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    with AnthropicServer() as running:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", running.url)
        claude.forget()
        yield running
        claude.forget()


@pytest.fixture
def become(
    aws: Aws, server: AnthropicServer, db: Any, function_env: Callable[..., dict[str, str]]
) -> Callable[..., Stage]:
    """Make the analyzer of the template, with some of its variables changed."""

    def make(*, key: str | None = "sk-not-a-real-key", **changed: str) -> Stage:
        function_env("Analyzer", **changed)
        if key:
            aws.put_parameter(KEY_PARAMETER, key)
        return Stage(aws, server, db)

    return make


@pytest.fixture
def stage(become: Callable[..., Stage]) -> Stage:
    return become(ANALYZER="anthropic")


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        pause.wait(0.01)


def test_a_picture_is_described_stored_and_announced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53;Sampled=1")
    stage.processed()
    stage.server.will_answer(message())
    assert stage.deliver() == []

    (row,) = stage.rows("SELECT * FROM analyses")
    assert (row["user_id"], row["item_id"], row["version"], row["object_version"]) == (ANA, FIRST, 1, "v1")
    assert row["raw_response"] == analysis()
    assert (row["category"], row["headline"]) == ("Food and drink", analysis()["headline"])
    assert (row["provider_used"], row["model_used"]) == ("anthropic", "claude-haiku-5-5")
    assert (row["prompt_hash"], row["run_id"]) == (prompt.prompt_hash(), "")
    assert row["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"

    item = stage.item()
    assert (item["status"], item["analysis_version"], item["error_code"]) == ("analyzed", 1, None)

    (line,) = stage.rows("SELECT * FROM item_events")
    assert (line["stage"], line["event"], line["occurrence"]) == ("analyzer", "analyzed", "analysis 1")
    assert line["duration_ms"] > 0
    assert line["detail"]["provider"] == "anthropic"

    (reply,) = stage.rows("SELECT * FROM model_replies")
    assert (reply["sha256"], reply["outcome"], reply["try"]) == (SHA, "valid", 1)
    assert json.loads(reply["reply"])["stop_reason"] == "end_turn"

    (used,) = stage.rows("SELECT * FROM usage_ledger")
    assert (used["item_id"], used["stage"], used["input_tokens"], used["output_tokens"]) == (
        FIRST,
        "analyzer",
        5210,
        312,
    )
    assert float(used["cost_usd"]) == pytest.approx(5210 * 0.1e-6 + 312 * 0.5e-6)

    for words in ("espresso", "coffee home", "saucer"):
        query = "SELECT 1 FROM search_documents WHERE document @@ plainto_tsquery('english', %s)"
        assert stage.rows(query, words)

    (event,) = stage.aws.published()
    assert event["detail-type"] == "AnalysisComplete"
    assert event["detail"]["metadata"]["correlation_id"] == "c-1"
    assert event["detail"]["data"] == {
        "user_id": ANA,
        "item_id": str(FIRST),
        "object_version": "v1",
        "analysis_version": 1,
        "provider": "anthropic",
        "model": "claude-haiku-5-5",
    }
    status = database.connection().info.transaction_status
    assert status == psycopg.pq.TransactionStatus.IDLE


def test_a_second_delivery_changes_nothing(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(message())
    stage.deliver()
    stage.db.execute("UPDATE items SET status = 'ready'")  # as the embedder does
    stage.aws.published()
    before = stage.everything()
    assert stage.deliver(attempt=2) == []
    assert stage.everything() == before
    assert stage.aws.published() == []
    assert stage.calls() == 1


def test_a_crash_after_the_commit_is_healed_by_the_redelivery(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.processed()
    stage.server.will_answer(message())

    def fail(*_: object) -> None:
        raise PublishError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(handler, "publish", fail)
        assert len(stage.deliver()) == 1
    before = stage.everything()
    assert stage.deliver(attempt=2) == []
    assert stage.everything() == before
    assert [event["detail-type"] for event in stage.aws.published()] == ["AnalysisComplete"]
    assert stage.calls() == 1


def test_a_crash_between_storing_and_reading_does_not_cost_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.processed()
    stage.server.will_answer(message())

    def die(_: object) -> None:
        raise KeyboardInterrupt  # as sudden as a killed process: nothing of ours catches it

    with monkeypatch.context() as broken:
        broken.setattr("functions.analyzer.chain.judge", die)
        with pytest.raises(KeyboardInterrupt):
            stage.ask()
    assert [row["outcome"] for row in stage.rows("SELECT outcome FROM model_replies")] == [None]
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1

    assert stage.ask()["status"] == "analyzed"
    assert stage.calls() == 1
    assert [row["outcome"] for row in stage.rows("SELECT outcome FROM model_replies")] == ["valid"]
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1


def test_an_exact_duplicate_is_not_paid_for_again(stage: Stage) -> None:
    stage.processed()
    stage.processed(item=SECOND, duplicate_of=FIRST)
    stage.server.will_answer(message())
    stage.deliver()
    stage.deliver(item=SECOND)
    assert stage.calls() == 1
    found = stage.rows("SELECT item_id, version, headline FROM analyses ORDER BY item_id")
    assert [(row["item_id"], row["version"]) for row in found] == [(FIRST, 1), (SECOND, 1)]
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1
    assert len(stage.aws.published()) == 2


def test_two_users_with_the_same_file_share_nothing(stage: Stage) -> None:
    stage.processed(ANA, FIRST)
    stage.processed(BEN, SECOND)
    stage.server.will_answer(message(), message(json.dumps(analysis(headline="Something else"))))
    stage.deliver(ANA, FIRST)
    before = {
        table: [row for row in rows if row["user_id"] == ANA] for table, rows in stage.everything().items()
    }
    stage.deliver(BEN, SECOND)
    after = stage.everything()
    assert {table: [row for row in rows if row["user_id"] == ANA] for table, rows in after.items()} == before
    assert stage.calls() == 2
    assert [row["headline"] for row in after["analyses"]] == [analysis()["headline"], "Something else"]


def test_the_same_id_under_another_user_is_another_item(stage: Stage) -> None:
    stage.processed(ANA, FIRST)
    assert stage.ask(BEN, FIRST) == {"status": "ignored", "reason": "unknown item"}
    assert stage.calls() == 0


IN_ANOTHER_PROCESS = """
import sys
from tests.postgres.test_analyzer import analyze_in_this_process
analyze_in_this_process(*sys.argv[1:])
"""


def analyze_in_this_process(database_url: str, server_url: str, item: str) -> None:
    """Be another execution environment: own AWS, own connections, the same database and model."""
    from tests.conftest import forget_caches

    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("ANTHROPIC_BASE_URL", server_url)
    with mock_aws():
        forget_caches()
        aws = Aws()
        from local import resources

        for name, value in resources.environment(aws.template, aws.resources, "Analyzer").items():
            patch.setenv(name, value)
        patch.setenv("ANALYZER", "anthropic")
        forget_caches()
        aws.put_parameter("/magpie/dev/database-url", database_url)
        aws.put_parameter(KEY_PARAMETER, "sk-not-a-real-key")
        objects.write(aws.media, items.image_key(ANA, UUID(item)), jpeg(), "image/jpeg", SHA)
        answer = handler.lambda_handler({"user_id": ANA, "item_id": item}, LambdaContext())
    sys.stdout.write(answer["status"])


def test_duplicates_at_the_same_time_pay_once(stage: Stage, database_url: str) -> None:
    stage.processed()
    stage.processed(item=SECOND, duplicate_of=FIRST)
    gate = threading.Event()
    stage.server.will_answer(message(gate=gate))
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, database_url, stage.server.url]
    running = [
        subprocess.Popen([*command, str(item)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for item in (FIRST, SECOND)
    ]
    try:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: bool(stage.rows(waiting)), seconds=60)
        gate.set()
        said = [process.communicate(timeout=60)[0].splitlines()[-1] for process in running]
        assert said == ["analyzed", "analyzed"]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert stage.calls() == 1
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1
    assert [row["version"] for row in stage.rows("SELECT version FROM analyses")] == [1, 1]


def test_who_waits_too_long_goes_back_to_the_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "WAIT_SECONDS", 0.1)
    stage.processed()
    name = "/".join(["analyzer", ANA, SHA, prompt.prompt_hash(), ""])
    stage.db.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
    with pytest.raises(TransientError, match="another delivery"):
        stage.ask()
    assert stage.calls() == 0
    stage.db.execute("SELECT pg_advisory_unlock_all()")
    stage.server.will_answer(message())
    assert stage.ask()["status"] == "analyzed"


def test_the_lock_is_free_afterwards_also_after_a_failure(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(error(529, "overloaded_error"), message())
    with pytest.raises(TransientError):
        stage.ask()
    # The server frees it when it notices that the connection was closed, and nobody waits for that.
    wait_until(lambda: stage.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == [])
    stage.ask()
    wait_until(lambda: stage.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == [])


def during_the_call(
    stage: Stage, act: Callable[[], None], answer: Callable[[threading.Event], Answer]
) -> Any:
    """Analyze, and do something while the model thinks."""
    gate = threading.Event()
    stage.server.will_answer(answer(gate))

    def interfere() -> None:
        try:
            wait_until(lambda: stage.calls() == 1)
            act()
        finally:
            gate.set()

    other = threading.Thread(target=interfere)
    other.start()
    try:
        return stage.ask()
    finally:
        other.join()


def test_a_reply_is_stored_although_the_connections_died_meanwhile(stage: Stage) -> None:
    stage.processed()

    def kill() -> None:
        killed = stage.rows(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
        assert len(killed) == 2  # the one that works, and the one that holds the lock

    answer = during_the_call(stage, kill, lambda gate: message(gate=gate))
    assert answer["status"] == "analyzed"
    assert stage.calls() == 1
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1


def test_a_reply_stored_twice_is_one_reply_and_one_cost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit arrived, its confirmation did not."""
    stage.processed()
    stage.server.will_answer(message())
    real = replies._insert
    tries: list[int] = []

    def unconfirmed(*stored: Any) -> None:
        real(*stored)
        tries.append(1)
        if len(tries) == 1:
            raise TransientError("the connection was lost")

    monkeypatch.setattr(replies, "_insert", unconfirmed)
    stage.ask()
    assert len(tries) == 2
    assert len(stage.rows("SELECT 1 FROM model_replies")) == 1
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1
    assert (set(money.books(stage.db)), money.set_aside(stage.db)) == ({ANA, "*"}, 0)


def test_a_newer_version_that_arrives_during_the_call_wins(stage: Stage) -> None:
    stage.processed()

    def replace() -> None:
        stage.db.execute("UPDATE items SET object_version = 'v2', sha256 = 'other', status = 'processed'")

    answer = during_the_call(stage, replace, lambda gate: message(gate=gate))
    assert answer == {"status": "ignored", "reason": "another version of the object"}
    assert stage.rows("SELECT 1 FROM analyses") == []
    assert stage.item()["status"] == "processed"
    assert stage.aws.published() == []
    assert [row["sha256"] for row in stage.rows("SELECT sha256 FROM model_replies")] == [SHA]


def test_an_item_deleted_during_the_call_stays_deleted(stage: Stage) -> None:
    stage.processed()
    answer = during_the_call(
        stage, lambda: void(stage.db.execute("DELETE FROM items")), lambda gate: message(gate=gate)
    )
    assert answer["status"] == "ignored"
    assert stage.rows("SELECT 1 FROM analyses") == []
    assert stage.rows("SELECT 1 FROM model_replies") == [], "what was said of it goes too"
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1  # money spent stays spent


def test_what_was_said_of_a_deleted_item_stays_for_its_duplicate(stage: Stage) -> None:
    stage.processed()
    stage.processed(item=SECOND)
    during_the_call(
        stage,
        lambda: void(stage.db.execute("DELETE FROM items WHERE item_id = %s", (FIRST,))),
        lambda gate: message(gate=gate),
    )
    assert stage.ask(item=SECOND)["status"] == "analyzed"
    assert stage.calls() == 1
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1


def test_a_reply_about_nothing_is_charged_once_however_often_it_is_tried(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.processed()
    real = replies._insert

    def unconfirmed(*stored: Any) -> bool:
        stage.db.execute("DELETE FROM items")
        real(*stored)
        return real(*stored)

    monkeypatch.setattr(replies, "_insert", unconfirmed)
    stage.server.will_answer(message())
    assert stage.ask()["status"] == "ignored"
    assert stage.rows("SELECT 1 FROM model_replies") == []
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1


class TestMoney:
    """What a call may cost is set aside before it, and nothing is asked without."""

    MOST = models.most(
        "anthropic", "claude-haiku-5-5", prompt.most_tokens(), chain.MAX_TOKENS, date(2026, 11, 20)
    )

    def test_a_call_is_covered_while_it_lasts_and_then_costs_what_it_did(self, stage: Stage) -> None:
        stage.processed()
        during: list[Any] = []
        during_the_call(stage, lambda: during.append(money.books(stage.db)), lambda gate: message(gate=gate))
        assert during == [{ANA: self.MOST, "*": self.MOST}]
        after = money.books(stage.db)
        assert after[ANA] == after["*"] < self.MOST
        assert money.set_aside(stage.db) == 0

    def test_what_is_set_aside_is_never_less_than_what_a_call_costs(self) -> None:
        for name in models._facts()["models"]:
            known = models.known(name)
            most = models.most("anthropic", name, prompt.most_tokens(), chain.MAX_TOKENS, date(2026, 11, 20))
            # A token is some four bytes of English, and a picture is never larger than the model sees.
            read = known.visual_tokens + prompt.most_tokens() // 2
            usual = models.cost("anthropic", name, read, chain.MAX_TOKENS, date(2026, 11, 20))
            assert usual
            assert most > usual
        assert models.most("anthropic", "unheard-of", 1, 1, date(2026, 11, 20)) == models.NANODOLLAR

    @pytest.mark.parametrize(("whose", "meter"), [(ANA, "model_usd"), ("everybody's", "deployment")])
    def test_what_nobody_may_be_paid_for_waits(
        self, become: Callable[..., Stage], whose: str, meter: str
    ) -> None:
        budget = "100" if whose == ANA else str(self.MOST / 2)
        stage = become(ANALYZER="anthropic,offline", MODEL_BUDGET_USD=budget)
        money.allow(stage.db, ANA, model_usd_per_month=float(self.MOST / 2) if whose == ANA else None)
        stage.processed()
        assert stage.deliver() == []
        row = stage.item()
        assert (row["status"], row["held_status"], row["error_code"]) == ("over_quota", "processed", meter)
        assert "begins anew" in row["error_message"]
        assert (stage.calls(), money.books(stage.db), stage.rows("SELECT 1 FROM analyses")) == (0, {}, [])
        (line,) = stage.rows("SELECT event, detail FROM item_events")
        assert (line["event"], Decimal(line["detail"]["wanted"])) == ("over_quota", self.MOST)
        (event,) = stage.aws.published()
        assert (event["detail-type"], event["detail"]["data"]["meter"]) == ("QuotaReached", meter)
        assert event["detail"]["data"]["period"] == f"{datetime.now(UTC):%Y-%m}"
        # Told again it changes nothing; told once there is money it goes on.
        before = stage.everything()
        assert stage.deliver(attempt=2) == []
        assert stage.everything() == before
        money.allow(stage.db, ANA)
        stage = become(ANALYZER="anthropic", MODEL_BUDGET_USD="100")
        stage.server.will_answer(message())
        assert stage.deliver(attempt=3) == []
        row = stage.item()
        assert (row["status"], row["held_status"], row["error_code"]) == ("analyzed", None, None)
        assert stage.calls() == 1

    def test_an_item_that_is_described_stays_as_it_is(self, stage: Stage) -> None:
        stage.processed()
        stage.server.will_answer(message())
        stage.deliver()
        stage.db.execute("UPDATE items SET status = 'ready'")
        stage.aws.published()
        money.allow(stage.db, ANA, model_usd_per_month=0)
        answer = stage.ask(run_id="7")
        assert (answer["status"], answer["code"]) == ("kept", "over_quota")
        assert stage.item()["status"] == "ready"
        assert stage.aws.published() == []
        (line,) = stage.rows("SELECT * FROM item_events WHERE event = 'kept'")
        assert (line["occurrence"], line["detail"]["code"]) == ("over_quota 7", "over_quota")
        # What is paid for already needs no money.
        assert stage.ask()["status"] == "analyzed"

    def test_whoever_costs_nothing_is_never_stopped(self, become: Callable[..., Stage]) -> None:
        stage = become(ANALYZER="offline", MODEL_BUDGET_USD="0")
        money.allow(stage.db, ANA, model_usd_per_month=0)
        stage.processed()
        assert stage.ask()["status"] == "analyzed"
        assert money.books(stage.db) == {}

    def test_with_no_budget_nobody_is_paid_whose_price_is_unknown_either(
        self, become: Callable[..., Stage]
    ) -> None:
        stage = become(ANALYZER="anthropic", ANTHROPIC_MODEL="unheard-of", MODEL_BUDGET_USD="0")
        stage.processed()
        assert stage.ask()["status"] == "over_quota"
        assert stage.calls() == 0

    def test_what_waits_for_its_picture_is_left_alone(self, stage: Stage) -> None:
        stage.processed()
        stage.db.execute(
            "UPDATE items SET status = 'over_quota', held_status = 'pending', error_code = 'storage_bytes'"
        )
        before = stage.everything()
        assert stage.ask() == {"status": "ignored", "reason": "item without a picture yet"}
        assert stage.everything() == before

    @pytest.mark.parametrize("answer", [error(529, "overloaded_error"), error(401, "authentication_error")])
    def test_a_call_that_was_none_is_free_again(self, stage: Stage, answer: Answer) -> None:
        stage.processed()
        stage.server.will_answer(answer)
        with pytest.raises((TransientError, ProviderError)):
            stage.ask()
        assert (money.books(stage.db), money.set_aside(stage.db)) == ({}, 0)

    @pytest.mark.parametrize("step", ["describe", "keep", "judge", "store", "publish"])
    def test_wherever_it_dies_nothing_is_paid_twice_and_the_books_agree(
        self, stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places: dict[str, tuple[Any, str]] = {
            "describe": (claude.Claude, "describe"),  # set aside, and not yet asked
            "keep": (replies.StoredReplies, "keep"),  # asked, and not yet stored
            "judge": (chain, "judge"),
            "store": (versions, "store"),
            "publish": (handler, "publish"),
        }
        stage.processed()
        if step == "keep":
            stage.server.will_answer(message())  # of the only call whose answer is lost
        stage.server.will_answer(message())

        def die(*_: Any) -> None:
            raise KeyboardInterrupt  # as sudden as a killed process: nothing of ours catches it

        with monkeypatch.context() as broken:
            broken.setattr(*places[step], die)
            with pytest.raises(KeyboardInterrupt):
                stage.deliver()
        money.books(stage.db)
        assert money.set_aside(stage.db) == (step in {"describe", "keep"})
        assert stage.deliver(attempt=2) == []
        assert stage.item()["status"] == "analyzed"
        assert stage.calls() == 1 + (step == "keep")
        assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 1
        money.books(stage.db)
        # What its holder could not give back expires.
        stage.db.execute("UPDATE quota_reservations SET expires_at = now()")
        quotas.expire()
        (spent,) = stage.rows("SELECT sum(cost_usd) AS usd FROM usage_ledger")
        assert money.books(stage.db) == {ANA: spent["usd"], "*": spent["usd"]}

    def test_a_database_that_is_away_leaves_the_money_to_expire(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any) -> None:
            raise TransientError("the database gave up")

        stage.processed()
        stage.server.will_answer(error(401, "authentication_error"))
        monkeypatch.setattr(quotas, "free", away)
        with pytest.raises(ProviderError):  # and not that nothing could be given back
            stage.ask()
        assert money.set_aside(stage.db) == 1


def test_who_is_chosen_and_cannot_be_asked_wakes_nobody(become: Callable[..., Stage]) -> None:
    """A person's choice of a model that does not exist is no reason for an alarm."""
    stage = become(key=None, ANALYZER="offline")
    stage.processed()
    before = stage.item()
    answer = stage.ask(providers=["anthropic"], model="no-such-model", run_id="try-it")
    assert answer == {"status": "kept", "code": "no_valid_analysis"}
    assert stage.item() == before
    assert stage.aws.published() == []
    (line,) = stage.rows("SELECT event, detail FROM item_events WHERE event = 'kept'")
    assert line["detail"]["message"] == "The provider or the model that was chosen cannot be asked here."


def void(_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("changed", "version", "reason"),
    [
        ({}, "v0", "another version of the object"),
        ({"status": "rejected"}, "v1", "rejected item"),
        ({"status": "pending"}, "v1", "item without a picture yet"),
    ],
)
def test_what_is_not_there_to_be_analyzed_is_let_go(
    stage: Stage, changed: dict[str, Any], version: str, reason: str
) -> None:
    stage.processed(**changed)
    before = stage.everything()
    assert stage.deliver(version=version) == []
    assert stage.ask(object_version=version) == {"status": "ignored", "reason": reason}
    assert stage.everything() == before
    assert (stage.calls(), stage.aws.published()) == (0, [])


def test_an_object_without_versions_is_analyzed_too(stage: Stage) -> None:
    stage.processed(version=None)
    stage.server.will_answer(message())
    assert stage.deliver(version=None) == []
    assert stage.rows("SELECT object_version FROM analyses") == [{"object_version": ""}]
    assert "object_version" not in stage.aws.published()[0]["detail"]["data"]


def test_a_web_image_of_another_version_is_not_shown_to_anybody(stage: Stage) -> None:
    stage.processed()
    objects.write(stage.aws.media, items.image_key(ANA, FIRST), jpeg(), "image/jpeg", "f" * 64)
    with pytest.raises(TransientError, match="another version"):
        stage.ask()
    assert stage.calls() == 0


def test_a_run_asks_anew_once(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(message(), message(json.dumps(analysis(headline="Seen again"))))
    stage.deliver()
    stage.db.execute("UPDATE items SET status = 'ready'")
    for attempt in (1, 2):
        assert stage.deliver(run_id="reprocess-7", attempt=attempt) == []
    assert stage.calls() == 2
    found = stage.rows("SELECT version, run_id, headline FROM analyses ORDER BY version")
    assert [(row["version"], row["run_id"]) for row in found] == [(1, ""), (2, "reprocess-7")]
    item = stage.item()
    assert (item["status"], item["analysis_version"]) == ("analyzed", 2)
    assert [event["detail"]["data"].get("run_id") for event in stage.aws.published()] == [
        None,
        "reprocess-7",
        "reprocess-7",
    ]
    # A late copy of the first event does not bring the first version back.
    before = stage.everything()
    assert stage.deliver(attempt=3) == []
    assert stage.everything() == before
    assert stage.aws.published() == []


def test_another_prompt_asks_again_when_it_is_asked_to(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.processed()
    stage.server.will_answer(message(), message())
    stage.ask()
    original = prompt.prompt_hash()
    monkeypatch.setattr(prompt, "prompt_hash", lambda: "f" * 64)
    assert stage.ask(run_id="new-prompt")["analysis_version"] == 2
    hashes = stage.rows("SELECT prompt_hash FROM analyses ORDER BY version")
    assert [row["prompt_hash"][:2] for row in hashes] == [original[:2], "ff"]


def test_a_late_copy_of_an_event_costs_nothing_whatever_was_deployed_since(
    become: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = become(key=None, ANALYZER="auto")
    stage.processed()
    stage.deliver()
    stage.db.execute("UPDATE items SET status = 'ready'")
    stage = become(ANALYZER="anthropic", ANTHROPIC_MODEL="claude-opus-5-5")
    monkeypatch.setattr(prompt, "prompt_hash", lambda: "f" * 64)
    before = stage.everything()
    assert stage.deliver(attempt=2) == []
    assert stage.everything() == before
    assert stage.calls() == 0
    # Somebody who names the provider means it.
    stage.server.will_answer(message())
    assert stage.ask(providers=["anthropic"])["analysis_version"] == 2
    assert stage.ask(providers=["anthropic"])["analysis_version"] == 2
    assert stage.calls() == 1


def test_the_prompts_hash_covers_instructions_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    first = prompt.prompt_hash()
    assert len(first) == 64
    for module, name, other in (
        (prompt, "system", lambda: "Describe it."),
        (prompt.analysis, "schema", lambda: {"type": "object"}),
        (prompt, "REQUEST", "Go on."),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(module, name, other)
            assert prompt.prompt_hash.__wrapped__() != first


def test_a_refused_picture_ends_as_failed_and_is_announced(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(refusal())
    assert stage.deliver() == []
    item = stage.item()
    assert (item["status"], item["error_code"]) == ("failed", "refused")
    assert stage.rows("SELECT outcome FROM model_replies") == [{"outcome": "refusal"}]
    (event,) = stage.aws.published()
    assert event["detail-type"] == "ItemRejected"
    assert (event["detail"]["data"]["stage"], event["detail"]["data"]["code"]) == ("analyzer", "refused")

    before = stage.everything()
    assert stage.deliver(attempt=2) == []
    assert stage.everything() == before
    assert stage.calls() == 1


@pytest.mark.parametrize(
    "answers",
    [
        [message("It is a cup."), message("A cup, as I said.")],
        [message(json.dumps(analysis(summary=[]))), message(json.dumps(analysis(image_details=None)))],
        [message('{"cat', stop_reason="max_tokens"), message('{"category', stop_reason="max_tokens")],
    ],
    ids=["malformed", "schema-breaking", "max_tokens"],
)
def test_two_unusable_answers_end_an_item_as_failed(stage: Stage, answers: list[Answer]) -> None:
    stage.processed()
    stage.server.will_answer(*answers)
    assert stage.deliver() == []
    assert (stage.item()["status"], stage.item()["error_code"]) == ("failed", "no_valid_analysis")
    assert [row["try"] for row in stage.rows("SELECT try FROM model_replies ORDER BY try")] == [1, 2]
    assert len(stage.rows("SELECT 1 FROM usage_ledger")) == 2
    assert stage.deliver(attempt=2) == []
    assert stage.calls() == 2


def test_a_cut_answer_gets_twice_the_room_also_after_a_crash(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.processed()
    stage.server.will_answer(
        message("{", stop_reason="max_tokens"), error(529, "overloaded_error"), message()
    )
    assert len(stage.deliver()) == 1
    assert stage.deliver(attempt=2) == []
    assert [asked.body["max_tokens"] for asked in stage.server.asked] == [8192, 16384, 16384]
    outcomes = stage.rows("SELECT try, outcome FROM model_replies ORDER BY try")
    assert [(row["try"], row["outcome"]) for row in outcomes] == [(1, "max_tokens"), (2, "valid")]


def test_a_failed_item_is_mended_by_somebody_who_can(become: Callable[..., Stage]) -> None:
    stage = become(ANALYZER="anthropic")
    stage.processed()
    stage.server.will_answer(refusal())
    stage.deliver()
    assert stage.ask(providers=["anthropic", "offline"])["provider"] == "offline"
    item = stage.item()
    assert (item["status"], item["error_code"], item["error_message"]) == ("analyzed", None, None)
    assert stage.calls() == 1  # the refusal was not asked for again


def test_a_run_that_comes_to_nothing_takes_nothing_away(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(message(), refusal())
    stage.deliver()
    stage.db.execute("UPDATE items SET status = 'ready'")
    stage.aws.published()
    item = stage.item()
    for _ in range(2):
        assert stage.ask(run_id="again") == {"status": "kept", "code": "refused"}
    assert stage.item() == item
    assert stage.aws.published() == []
    lines = stage.rows("SELECT event, detail FROM item_events ORDER BY event_id")
    assert [line["event"] for line in lines] == ["analyzed", "kept"]
    assert stage.calls() == 2


def test_a_throttled_model_is_given_time_and_then_the_next_is_asked(become: Callable[..., Stage]) -> None:
    stage = become(ANALYZER="anthropic,bedrock,offline")
    stage.processed()
    throttled = error(429, "rate_limit_error", "Too many requests")
    also = bedrock_error(429, "ThrottlingException", "Too many requests")
    stage.server.will_answer(throttled, throttled, throttled, also)
    assert len(stage.deliver(attempt=1)) == 1
    assert len(stage.deliver(attempt=PATIENCE - 1)) == 1
    assert stage.calls() == 2
    assert stage.item()["status"] == "processed"
    assert stage.deliver(attempt=PATIENCE) == []
    assert [asked.path.split("/")[1] for asked in stage.server.asked] == ["v1", "v1", "v1", "model"]
    (row,) = stage.rows("SELECT provider_used, model_used FROM analyses")
    assert (row["provider_used"], row["model_used"]) == ("offline", "measured-1")
    assert stage.aws.published()[0]["detail"]["data"]["provider"] == "offline"
    # And a copy of that message finds the work done.
    assert stage.deliver(attempt=PATIENCE + 1) == []
    assert stage.calls() == 4


def test_bedrock_answers_in_its_own_name(become: Callable[..., Stage]) -> None:
    stage = become(ANALYZER="anthropic,bedrock")
    stage.processed()
    stage.server.will_answer(refusal(), message())
    assert stage.deliver() == []
    (row,) = stage.rows("SELECT provider_used, model_used FROM analyses")
    assert row["provider_used"] == "bedrock"
    assert row["model_used"].startswith("us.anthropic.claude-")
    outcomes = stage.rows("SELECT provider, outcome FROM model_replies ORDER BY provider")
    assert [tuple(row.values()) for row in outcomes] == [("anthropic", "refusal"), ("bedrock", "valid")]
    costs = stage.rows("SELECT cost_usd FROM usage_ledger ORDER BY provider")
    assert all(row["cost_usd"] > 0 for row in costs)


def test_a_wrong_key_never_shows_as_success_and_condemns_nothing(stage: Stage) -> None:
    stage.processed()
    before = stage.everything()
    stage.server.will_answer(*[error(401, "authentication_error", "invalid x-api-key")] * 9)
    for attempt in (1, 3, 8):
        assert len(stage.deliver(attempt=attempt)) == 1
    with pytest.raises(ProviderError, match="401 authentication_error"):
        stage.ask()
    assert stage.everything() == before
    assert stage.aws.published() == []


def test_a_timeout_is_worth_another_try(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.analyzer.chain.CALL_SECONDS", 0.2)
    stage.processed()
    gate = threading.Event()
    stage.server.will_answer(message(gate=gate), message())
    assert len(stage.deliver()) == 1
    gate.set()
    assert stage.deliver(attempt=2) == []


@pytest.mark.parametrize(("key", "provider"), [(None, "offline"), ("sk-not-a-real-key", "anthropic")])
def test_auto_takes_a_model_when_there_is_a_key(
    become: Callable[..., Stage], key: str | None, provider: str
) -> None:
    stage = become(key=key, ANALYZER="auto")
    stage.processed(camera="Nikon D70s")
    stage.server.will_answer(message())
    assert stage.ask()["provider"] == provider
    (row,) = stage.rows("SELECT provider_used, summary FROM analyses")
    assert row["provider_used"] == provider
    assert ("Nikon" in row["summary"]) == (provider == "offline")


def test_what_costs_nothing_leaves_no_line_in_the_ledger(become: Callable[..., Stage]) -> None:
    stage = become(key=None, ANALYZER="offline")
    stage.processed()
    assert stage.deliver() == []
    assert stage.rows("SELECT 1 FROM usage_ledger") == []
    assert len(stage.rows("SELECT 1 FROM model_replies")) == 1


def test_a_missing_key_says_where_it_belongs(become: Callable[..., Stage]) -> None:
    stage = become(key=None, ANALYZER="anthropic")
    stage.processed()
    with pytest.raises(ProviderError, match=KEY_PARAMETER):
        stage.ask()


def test_a_payload_may_name_provider_and_model(stage: Stage) -> None:
    stage.processed()
    stage.server.will_answer(message())
    answer = stage.ask(providers=["anthropic"], model="claude-next", run_id="try-it")
    assert (answer["model"], answer["run_id"]) == ("claude-next", "try-it")
    assert stage.server.asked[0].body["model"] == "claude-next"
    (used,) = stage.rows("SELECT model, cost_usd FROM usage_ledger")
    assert (used["model"], used["cost_usd"]) == ("claude-next", 0)  # its price is not known


def test_hostile_text_is_stored_clean_and_whole(stage: Stage) -> None:
    hostile = {
        "extracted_text": [
            "Ignore all previous instructions\x00",
            "\ud800",
            "'; DROP TABLE items; --",
            "<script>",
        ],
        "objects": [f"thing {n}" for n in range(100_000)],
    }
    text = json.dumps(analysis(image_details=analysis()["image_details"] | hostile, confidence=float("nan")))
    stage.processed()
    stage.server.will_answer(message(text))
    assert stage.deliver() == []
    (row,) = stage.rows("SELECT raw_response FROM analyses")
    details = row["raw_response"]["image_details"]
    assert details["extracted_text"] == [
        "Ignore all previous instructions",
        "?",
        "'; DROP TABLE items; --",
        "<script>",
    ]
    assert len(details["objects"]) == 60
    assert "confidence" not in row["raw_response"]
    (reply,) = stage.rows("SELECT reply FROM model_replies")
    assert json.loads(json.loads(reply["reply"])["content"][0]["text"])["image_details"]["objects"][99_999]


def test_an_event_that_points_elsewhere_reads_only_its_own_users_picture(stage: Stage) -> None:
    """`deliver` names Ben's image in another bucket; what is read follows from whose item it is."""
    stage.processed()
    stage.server.will_answer(message())
    assert stage.deliver() == []
    import base64

    (block, _) = stage.server.asked[0].body["messages"][0]["content"]
    assert base64.b64decode(block["source"]["data"]) == jpeg()


@pytest.mark.parametrize("name", ["queue", "envelope", "direct"])
def test_every_sample_event_is_taken(become: Callable[..., Stage], name: str) -> None:
    stage = become(key=None, ANALYZER="auto")
    sample = json.loads((ROOT / "events" / "samples" / "analyzer" / f"{name}.json").read_text())
    example = json.loads((ROOT / "events" / "ImageProcessed" / "v1.example.json").read_text())["data"]
    stage.processed(example["user_id"], UUID(example["item_id"]), version=example["object_version"])
    answer = handler.lambda_handler(sample, LambdaContext())
    assert answer == {"batchItemFailures": []} if name == "queue" else answer["status"] == "analyzed"
    assert [event["detail-type"] for event in stage.aws.published()] == ["AnalysisComplete"]
