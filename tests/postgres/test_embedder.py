"""The embedder on a real database: events in, vectors and events out."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from functions.embedder import store
from functions.embedder.handler import lambda_handler
from functions.embedder.voyage import VoyageError
from shared import bus, clients, database, quotas
from shared.errors import PublishError, TransientError
from tests.conftest import ROOT, Aws, LambdaContext
from tests.fakes import money, voyage_server
from tests.fakes.voyage_server import KEY, Answer, Request, VoyageServer

Database = psycopg.Connection[dict[str, Any]]

ALICE, BOB = "alice", "bob"
SAMPLES = ROOT / "events" / "samples" / "embedder"


@pytest.fixture
def offline(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Embedder", EMBEDDER="offline")


@pytest.fixture
def voyage(function_env: Callable[..., dict[str, str]], aws: Aws) -> Iterator[VoyageServer]:
    """Voyage's models, by way of a key in Parameter Store."""
    with voyage_server.running() as server:
        environment = function_env("Embedder", VOYAGE_BASE_URL=server.base_url)
        assert environment["EMBEDDER"] == "auto"
        aws.put_parameter(environment["VOYAGE_KEY_PARAMETER"], KEY)
        yield server


def analyzed(
    db: Database,
    user_id: str = ALICE,
    headline: str = "Golden sunset over the sea",
    *,
    item_id: UUID | None = None,
    version: int = 1,
    object_version: str = "v1",
    **columns: Any,
) -> dict[str, Any]:
    """Put an item with its current analysis into the database; return the event that says so."""
    item_id = item_id or uuid4()
    db.execute(
        """
        INSERT INTO items (user_id, item_id, filename, object_key, status, object_version, analysis_version)
        VALUES (%s, %s, 'a.jpg', %s, 'analyzed', %s, %s)
            ON CONFLICT (user_id, item_id) DO UPDATE
           SET status = 'analyzed', object_version = excluded.object_version,
               analysis_version = excluded.analysis_version
        """,
        (user_id, item_id, f"{user_id}/{item_id}/original", object_version, version),
    )
    db.execute(
        """
        INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                              raw_response, provider_used, model_used, prompt_hash)
        VALUES (%s, %s, %s, %s, 'landscape', %s, '', %s, 'offline', 'offline-1', %s)
        """,
        (
            user_id,
            item_id,
            version,
            object_version,
            headline,
            Jsonb({"headline": headline, "category": "landscape"}),
            f"prompt of version {version}",
        ),
    )
    for name, value in columns.items():
        db.execute(
            psycopg.sql.SQL("UPDATE items SET {} = %s WHERE user_id = %s AND item_id = %s").format(
                psycopg.sql.Identifier(name)
            ),
            (value, user_id, item_id),
        )
    return {
        "user_id": user_id,
        "item_id": str(item_id),
        "object_version": object_version,
        "analysis_version": version,
        "provider": "offline",
        "model": "offline-1",
    }


def envelope(data: dict[str, Any], correlation_id: str = "cause") -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "AnalysisComplete",
        "source": "magpie",
        "detail": {
            "metadata": {
                "version": "1",
                "correlation_id": correlation_id,
                "occurred_at": "2026-11-20T10:00:00Z",
            },
            "data": data,
        },
    }


def batch(*events: dict[str, Any]) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": json.dumps(envelope(event, f"cause-{number}")),
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:EmbedderQueue",
                "awsRegion": "us-east-1",
            }
            for number, event in enumerate(events)
        ]
    }


def run(event: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = lambda_handler(event, LambdaContext())
    assert database.connection().info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return answer


def failed(answer: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def status(db: Database, event: dict[str, Any]) -> str:
    row = db.execute(
        "SELECT status FROM items WHERE user_id = %s AND item_id = %s", (event["user_id"], event["item_id"])
    ).fetchone()
    assert row is not None
    return str(row["status"])


def everything(db: Database) -> list[Any]:
    """Return all that the embedder may change."""
    return [
        db.execute(
            psycopg.sql.SQL("SELECT * FROM {} ORDER BY 1, 2, 3").format(psycopg.sql.Identifier(table))
        ).fetchall()
        for table in ("items", "embeddings", "item_events", "usage_ledger")
    ]


def rows(db: Database, query: str) -> list[dict[str, Any]]:
    return db.execute(query).fetchall()


def test_an_analysis_becomes_a_vector_and_the_item_is_ready(offline: Any, aws: Aws, db: Database) -> None:
    event = analyzed(db)
    assert failed(run(batch(event))) == []
    (row,) = rows(
        db, "SELECT *, vector_dims(embedding) AS length, l2_norm(embedding) AS norm FROM embeddings"
    )
    assert (row["user_id"], str(row["item_id"])) == (ALICE, event["item_id"])
    assert (row["model"], row["dimensions"], row["length"]) == ("hashed-words-1", 1024, 1024)
    assert row["norm"] == pytest.approx(1, abs=1e-3)
    assert row["analysis_version"] == 1
    assert status(db, event) == "ready"
    (published,) = aws.published()
    assert published["detail-type"] == "EmbeddingComplete"
    assert published["detail"]["metadata"]["correlation_id"] == "cause-0"
    assert published["detail"]["data"] == {
        "user_id": ALICE,
        "item_id": event["item_id"],
        "object_version": "v1",
        "analysis_version": 1,
        "model": "hashed-words-1",
        "dimensions": 1024,
    }
    (line,) = rows(db, "SELECT * FROM item_events")
    assert (line["stage"], line["event"]) == ("embedder", "ready")
    assert line["duration_ms"] > 0
    assert line["detail"] == {"provider": "offline", "model": "hashed-words-1", "reused": False}
    assert rows(db, "SELECT * FROM usage_ledger") == []


def test_one_envelope_and_a_direct_payload_do_the_same(offline: Any, aws: Aws, db: Database) -> None:
    first, second = analyzed(db), analyzed(db)
    assert run(envelope(first))["outcome"] == "EmbeddingComplete"
    del second["object_version"]
    answer = run(second | {"correlation_id": "by hand"})
    assert answer["item_id"] == second["item_id"]
    assert answer["model"] == "hashed-words-1"
    assert [status(db, event) for event in (first, second)] == ["ready", "ready"]
    causes = [published["detail"]["metadata"]["correlation_id"] for published in aws.published()]
    assert causes == ["cause", "by hand"]


def test_without_versions_the_current_ones_are_meant(offline: Any, aws: Aws, db: Database) -> None:
    event = analyzed(db, version=3, object_version="v7")
    answer = run({"user_id": ALICE, "item_id": event["item_id"]})
    assert (answer["analysis_version"], answer["object_version"]) == (3, "v7")
    assert status(db, event) == "ready"


def test_a_second_delivery_changes_nothing_and_is_published_again(
    offline: Any, aws: Aws, db: Database
) -> None:
    event = analyzed(db)
    run(batch(event))
    first = aws.published()
    before = everything(db)
    assert failed(run(batch(event))) == []
    assert everything(db) == before
    assert [again["detail"]["data"] for again in aws.published()] == [
        once["detail"]["data"] for once in first
    ]


def test_a_second_delivery_pays_nothing(voyage: VoyageServer, db: Database) -> None:
    event = analyzed(db)
    run(batch(event))
    before = everything(db)
    run(batch(event, event))
    assert len(voyage.requests) == 1
    assert everything(db) == before


def test_a_crash_after_commit_and_before_publish_is_healed_by_the_redelivery(
    voyage: VoyageServer, aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = analyzed(db)

    def crash(*_: Any) -> None:
        raise PublishError("the bus is gone")

    with monkeypatch.context() as broken:
        broken.setattr(bus, "publish_each", crash)
        assert failed(run(batch(event))) == ["message-0"]
    assert status(db, event) == "ready"
    assert aws.published() == []
    assert failed(run(batch(event))) == []
    assert [published["detail-type"] for published in aws.published()] == ["EmbeddingComplete"]
    assert len(voyage.requests) == 1


def test_a_late_event_of_an_older_version_has_no_effect(offline: Any, aws: Aws, db: Database) -> None:
    old = analyzed(db)
    analyzed(db, headline="Tabby cat", item_id=UUID(old["item_id"]), version=2, object_version="v2")
    before = everything(db)
    older_analysis = old
    older_object = old | {"analysis_version": 2}
    newer_than_known = old | {"analysis_version": 3, "object_version": "v2"}
    assert failed(run(batch(older_analysis, older_object, newer_than_known))) == []
    assert everything(db) == before
    assert aws.published() == []


class TestMoney:
    """What a call may cost is set aside before it, each user's own share."""

    def test_a_call_is_covered_while_it_lasts_and_then_costs_what_it_did(
        self, voyage: VoyageServer, db: Database
    ) -> None:
        events = [analyzed(db, ALICE), analyzed(db, BOB, "Tabby cat"), analyzed(db, BOB, "Tabby cat")]
        during: list[Any] = []

        def look(request: Request) -> Answer:
            during.append((money.books(db), money.set_aside(db)))
            return voyage_server.vectors(request, tokens=20)

        voyage.answer = look
        run(batch(*events))
        ((covered, reservations),) = during
        after = money.books(db)
        assert reservations == 2
        assert covered["*"] == covered[ALICE] + covered[BOB]
        assert all(after[user] < covered[user] for user in (ALICE, BOB, "*"))
        assert money.set_aside(db) == 0

    def test_who_has_no_money_waits_and_the_others_go_on_in_the_same_call(
        self, voyage: VoyageServer, aws: Aws, db: Database
    ) -> None:
        money.allow(db, ALICE, model_usd_per_month=0)
        poor = [analyzed(db, ALICE), analyzed(db, ALICE, "Tabby cat")]
        rich = analyzed(db, BOB, "Steam locomotive")
        for _ in range(2):
            assert failed(run(batch(poor[0], rich, poor[1]))) == []
            assert [request["input"] for request in voyage.requests] == [["Steam locomotive\nlandscape"]]
            assert [status(db, event) for event in (*poor, rich)] == ["over_quota", "over_quota", "ready"]
            # Once for both of them; again at the next delivery, in case nobody heard of it.
            told = {event["detail-type"]: event["detail"]["data"] for event in aws.published()}
            assert set(told) == {"QuotaReached", "EmbeddingComplete"}
            assert (told["QuotaReached"]["user_id"], told["QuotaReached"]["meter"]) == (ALICE, "model_usd")
            assert set(money.books(db)) == {BOB, "*"}
        held = rows(db, "SELECT held_status, error_code FROM items WHERE status = 'over_quota'")
        assert held == [{"held_status": "analyzed", "error_code": "model_usd"}] * 2
        lines = rows(db, "SELECT item_id, detail FROM item_events WHERE event = 'over_quota'")
        assert len(lines) == 2
        assert all(0 < float(line["detail"]["wanted"]) < 1e-5 for line in lines)
        money.allow(db, ALICE)
        assert failed(run(batch(*poor))) == []
        assert [status(db, event) for event in poor] == ["ready", "ready"]
        assert rows(db, "SELECT FROM items WHERE held_status IS NOT NULL OR error_code IS NOT NULL") == []

    def test_the_budget_of_everybody_holds_everybody(
        self, voyage: VoyageServer, aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
    ) -> None:
        function_env("Embedder", VOYAGE_BASE_URL=voyage.base_url, MODEL_BUDGET_USD="0")
        aws.put_parameter("/magpie/dev/voyage-api-key", KEY)
        event = analyzed(db)
        answer = run(event)
        assert (answer["outcome"], answer["code"]) == ("over_quota", "over_quota")
        assert "everybody" in answer["reason"]
        assert (status(db, event), voyage.requests, money.books(db)) == ("over_quota", [], {})
        # What costs nothing goes on: a vector of the same text that there is already.
        function_env("Embedder", EMBEDDER="offline", MODEL_BUDGET_USD="0")
        assert run(event)["outcome"] == "EmbeddingComplete"
        assert status(db, event) == "ready"

    def test_what_waits_for_an_earlier_stage_is_left_alone(
        self, offline: Any, aws: Aws, db: Database
    ) -> None:
        event = analyzed(db)
        for held in ("pending", "processed"):
            db.execute("UPDATE items SET status = 'over_quota', held_status = %s", (held,))
            before = everything(db)
            assert failed(run(batch(event))) == []
            assert everything(db) == before
        assert aws.published() == []

    @pytest.mark.parametrize("answer", [voyage_server.THROTTLED, voyage_server.UNAUTHORIZED])
    def test_a_call_that_was_none_is_free_again(
        self, voyage: VoyageServer, db: Database, answer: Answer
    ) -> None:
        voyage.answer = lambda _: answer
        assert failed(run(batch(analyzed(db)))) == ["message-0"]
        assert (money.books(db), money.set_aside(db)) == ({}, 0)

    def test_a_refused_text_frees_its_share_and_one_that_is_paid_for_nothing_is_charged(
        self, voyage: VoyageServer, db: Database
    ) -> None:
        voyage.will_answer(voyage_server.vectors({"input": ["a", "b"], "model": "m"}, tokens=7))
        assert failed(run(batch(analyzed(db)))) == ["message-0"], "two vectors for one text"
        assert float(money.books(db)[ALICE]) == pytest.approx(7 * 0.02e-6)
        assert money.set_aside(db) == 0
        bad, good = analyzed(db, headline="bad"), analyzed(db, headline="good")
        refusal = voyage_server.failure(400, "no")
        voyage.answer = lambda request: (
            refusal if any("bad" in text for text in request["input"]) else voyage_server.vectors(request)
        )
        assert failed(run(batch(bad, good))) == []
        assert [status(db, event) for event in (bad, good)] == ["failed", "ready"]
        money.books(db)
        assert money.set_aside(db) == 0

    def test_a_crash_after_the_call_leaves_what_was_set_aside_to_expire(
        self, voyage: VoyageServer, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = analyzed(db)

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt  # as sudden as a killed process: nothing of ours catches it

        with monkeypatch.context() as broken:
            broken.setattr(store, "keep", die)
            with pytest.raises(KeyboardInterrupt):
                run(batch(event))
        assert set(money.books(db)) == {ALICE, "*"}
        assert money.set_aside(db) == 1
        assert failed(run(batch(event))) == []
        db.execute("UPDATE quota_reservations SET expires_at = now()")
        quotas.expire()
        (spent,) = rows(db, "SELECT sum(cost_usd) AS usd FROM usage_ledger")
        assert money.books(db) == {ALICE: spent["usd"], "*": spent["usd"]}

    def test_an_erased_user_buys_nothing(self, voyage: VoyageServer, db: Database) -> None:
        event = analyzed(db)
        db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES (%s, %s)", (ALICE, uuid4()))
        assert run(event)["reason"] == "deleted account"
        assert voyage.requests == []

    def test_a_database_that_is_away_leaves_the_money_to_expire(
        self, voyage: VoyageServer, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any) -> None:
            raise TransientError("the database gave up")

        monkeypatch.setattr(quotas, "free", away)
        voyage.answer = lambda _: voyage_server.UNAUTHORIZED
        with pytest.raises(VoyageError):  # and not that nothing could be given back
            run(analyzed(db))
        assert money.set_aside(db) == 1


@pytest.mark.parametrize("found", ["pending", "processed", "rejected", "failed"])
def test_an_item_that_is_not_analyzed_is_left_alone(offline: Any, aws: Aws, db: Database, found: str) -> None:
    event = analyzed(db, status=found, error_code="refused" if found == "failed" else None)
    before = everything(db)
    assert failed(run(batch(event))) == []
    assert everything(db) == before
    assert aws.published() == []


def test_an_unknown_item_is_let_go(offline: Any, aws: Aws, db: Database) -> None:
    event = analyzed(db)
    assert failed(run(batch(event | {"item_id": str(uuid4())}, event | {"user_id": BOB}))) == []
    assert aws.published() == []
    assert rows(db, "SELECT * FROM embeddings") == []


def test_a_version_that_takes_over_during_the_call_wins(voyage: VoyageServer, aws: Aws, db: Database) -> None:
    event = analyzed(db)

    def overtaken(request: Request) -> Answer:
        db.execute("UPDATE items SET object_version = 'v2', status = 'processed', analysis_version = NULL")
        return voyage_server.vectors(request, tokens=50)

    voyage.answer = overtaken
    assert failed(run(batch(event))) == []
    assert rows(db, "SELECT * FROM embeddings") == []
    assert status(db, event) == "processed"
    assert aws.published() == []
    assert [row["input_tokens"] for row in rows(db, "SELECT * FROM usage_ledger")] == [50], "spent is spent"


def test_a_batch_is_one_call_and_every_item_is_charged_its_share(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    events = [analyzed(db, ALICE if number % 2 else BOB, f"Picture number {number}") for number in range(128)]
    voyage.answer = lambda request: voyage_server.vectors(request, tokens=1_000_003)
    assert failed(run(batch(*events))) == []
    assert len(voyage.requests) == 1
    (spent,) = rows(
        db,
        "SELECT count(*) AS calls, sum(input_tokens) AS tokens, sum(cost_usd) AS usd, min(stage) AS stage,"
        " min(provider) AS provider, min(model) AS model FROM usage_ledger",
    )
    assert (spent["calls"], spent["tokens"]) == (128, 1_000_003)
    assert float(spent["usd"]) == pytest.approx(0.02000006, abs=1e-7)
    assert (spent["stage"], spent["provider"], spent["model"]) == ("embedder", "voyage", "voyage-3.5-lite")
    assert len(aws.published()) == 128
    assert {row["status"] for row in rows(db, "SELECT status FROM items")} == {"ready"}
    owners = rows(db, "SELECT embeddings.user_id FROM embeddings JOIN items USING (user_id, item_id)")
    assert len(owners) == 128


def test_the_same_text_of_the_same_user_is_paid_for_once(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    first, second, third = (analyzed(db) for _ in range(3))
    run(batch(first, second))
    run(batch(third))
    assert [request["input"] for request in voyage.requests] == [["Golden sunset over the sea\nlandscape"]]
    assert len(rows(db, "SELECT * FROM usage_ledger")) == 1
    made = rows(db, "SELECT embedding::text AS vector, source_hash FROM embeddings")
    assert len(made) == 3
    assert len({(row["vector"], row["source_hash"]) for row in made}) == 1
    reused = rows(db, "SELECT detail->'reused' AS reused FROM item_events ORDER BY event_id")
    assert [row["reused"] for row in reused] == [False, False, True]
    assert len(aws.published()) == 3


def test_a_vector_is_never_taken_from_another_user(voyage: VoyageServer, db: Database) -> None:
    run(batch(analyzed(db, ALICE)))
    run(batch(analyzed(db, BOB)))
    assert len(voyage.requests) == 2
    assert [row["user_id"] for row in rows(db, "SELECT user_id FROM usage_ledger ORDER BY 1")] == [ALICE, BOB]


def test_a_new_analysis_with_the_same_text_keeps_the_vector(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    event = analyzed(db)
    run(batch(event))
    again = analyzed(db, item_id=UUID(event["item_id"]), version=2)
    run(batch(again))
    assert len(voyage.requests) == 1
    (row,) = rows(db, "SELECT analysis_version FROM embeddings")
    assert row["analysis_version"] == 2
    assert [published["detail"]["data"]["analysis_version"] for published in aws.published()] == [1, 2]


def test_a_new_analysis_with_another_text_gets_another_vector(offline: Any, db: Database) -> None:
    event = analyzed(db)
    run(batch(event))
    (before,) = rows(db, "SELECT embedding::text AS vector FROM embeddings")
    run(batch(analyzed(db, headline="Tabby cat", item_id=UUID(event["item_id"]), version=2)))
    (after,) = rows(db, "SELECT embedding::text AS vector FROM embeddings")
    assert before != after


def test_another_model_makes_the_vector_anew(
    function_env: Callable[..., dict[str, str]], aws: Aws, db: Database
) -> None:
    event = analyzed(db)
    function_env("Embedder", EMBEDDER="offline")
    run(batch(event))
    with voyage_server.running() as server:
        environment = function_env("Embedder", EMBEDDER="voyage", VOYAGE_BASE_URL=server.base_url)
        aws.put_parameter(environment["VOYAGE_KEY_PARAMETER"], KEY)
        run(batch(event))
        assert len(server.requests) == 1
    (row,) = rows(db, "SELECT model FROM embeddings")
    assert row["model"] == "voyage-3.5-lite"
    assert len(rows(db, "SELECT * FROM item_events")) == 2


def test_without_a_key_auto_is_offline_and_voyage_a_configuration_error(
    function_env: Callable[..., dict[str, str]], db: Database
) -> None:
    event = analyzed(db)
    function_env("Embedder", EMBEDDER="voyage")
    assert failed(run(batch(event))) == ["message-0"]
    assert status(db, event) == "analyzed"
    function_env("Embedder", EMBEDDER="auto")
    assert failed(run(batch(event))) == []
    assert rows(db, "SELECT model FROM embeddings") == [{"model": "hashed-words-1"}]


@pytest.mark.parametrize(
    "answer",
    [voyage_server.THROTTLED, voyage_server.BROKEN, voyage_server.CUT_SHORT, voyage_server.UNAUTHORIZED],
)
def test_a_failing_service_gives_every_message_back_and_changes_nothing(
    voyage: VoyageServer, aws: Aws, db: Database, answer: Answer
) -> None:
    events = [analyzed(db, headline=f"Picture {number}") for number in range(3)]
    before = everything(db)
    voyage.will_answer(answer)
    assert failed(run(batch(*events))) == ["message-0", "message-1", "message-2"]
    assert everything(db) == before
    assert failed(run(batch(*events))) == []
    assert {status(db, event) for event in events} == {"ready"}


def test_a_direct_call_hears_why(voyage: VoyageServer, db: Database) -> None:
    voyage.will_answer(voyage_server.THROTTLED)
    with pytest.raises(TransientError, match="RateLimitError 429"):
        run(analyzed(db))


def test_what_was_paid_for_is_kept_when_the_next_call_fails(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    events = [analyzed(db, headline=f"Picture {number}") for number in range(150)]
    calls: list[Request] = []

    def tired(request: Request) -> Answer:
        calls.append(request)
        return voyage_server.vectors(request) if len(calls) == 1 else voyage_server.THROTTLED

    voyage.answer = tired
    assert len(failed(run(batch(*events)))) == 22
    assert len(rows(db, "SELECT * FROM embeddings")) == 128
    assert len(aws.published()) == 128


def test_a_bad_vector_fails_its_own_message_only_and_is_charged(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    events = [analyzed(db, headline=headline) for headline in ("A cat", "A dog", "A fox")]
    voyage.answer = lambda request: voyage_server.vectors(
        request,
        [[math.nan] * 1024 if "dog" in text else [1.0] * 1024 for text in request["input"]],
        tokens=30,
    )
    assert failed(run(batch(*events))) == ["message-1"]
    assert [status(db, event) for event in events] == ["ready", "analyzed", "ready"]
    (spent,) = rows(db, "SELECT sum(input_tokens) AS tokens FROM usage_ledger")
    assert spent["tokens"] == 30
    assert len(aws.published()) == 2


def test_a_refused_text_ends_its_item_and_is_said_once_more_on_redelivery(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    events = [analyzed(db, headline=headline) for headline in ("A cat", "poison", "A fox")]

    def refusing(request: Request) -> Answer:
        if any("poison" in text for text in request["input"]):
            return voyage_server.failure(400, "invalid input")
        return voyage_server.vectors(request)

    voyage.answer = refusing
    assert failed(run(batch(*events))) == []
    assert [status(db, event) for event in events] == ["ready", "failed", "ready"]
    (row,) = rows(db, "SELECT error_code, error_message FROM items WHERE status = 'failed'")
    assert row["error_code"] == "not_embeddable"
    by_type = {published["detail-type"]: published["detail"]["data"] for published in aws.published()}
    assert by_type["ItemRejected"] == {
        "user_id": ALICE,
        "item_id": events[1]["item_id"],
        "object_version": "v1",
        "stage": "embedder",
        "code": "not_embeddable",
        "message": row["error_message"],
    }
    before, calls = everything(db), len(voyage.requests)
    assert failed(run(batch(events[1]))) == []
    assert everything(db) == before
    assert len(voyage.requests) == calls
    (again,) = aws.published()
    assert again["detail"]["data"] == by_type["ItemRejected"]


def test_a_new_analysis_gives_a_refused_item_another_try(offline: Any, db: Database) -> None:
    event = analyzed(db, headline="!!!")
    db.execute("UPDATE analyses SET raw_response = '{}'")
    run(batch(event))
    assert status(db, event) == "failed"
    assert rows(db, "SELECT * FROM embeddings") == []
    run(batch(analyzed(db, item_id=UUID(event["item_id"]), version=2)))
    (row,) = rows(db, "SELECT status, error_code, error_message FROM items")
    assert row == {"status": "ready", "error_code": None, "error_message": None}


def correct(db: Database, event: dict[str, Any], **said: Any) -> None:
    """Say something of an item in place of the model; each time later than the last."""
    columns = {"category": None, "headline": None, "summary": None, "tags": None, **said}
    db.execute(
        """
        INSERT INTO corrections (user_id, item_id, category, headline, summary, tags, corrected_at)
        VALUES (%(user_id)s, %(item_id)s, %(category)s, %(headline)s, %(summary)s, %(tags)s,
                clock_timestamp())
            ON CONFLICT (user_id, item_id) DO UPDATE
           SET category = excluded.category, headline = excluded.headline, summary = excluded.summary,
               tags = excluded.tags, corrected_at = excluded.corrected_at
        """,
        {**columns, "user_id": event["user_id"], "item_id": event["item_id"]},
    )


def test_a_correction_makes_another_vector_and_taking_it_back_the_old_one(
    voyage: VoyageServer, db: Database
) -> None:
    event = analyzed(db)
    asked = {"user_id": event["user_id"], "item_id": event["item_id"]}
    run(batch(event))
    (before,) = rows(db, "SELECT source_hash FROM embeddings")
    run(asked)
    assert len(voyage.requests) == 1, "nothing was corrected, and nothing is paid for again"
    correct(db, event, headline="Tabby cat", tags=["pets", "home"])
    run(asked)
    assert voyage.requests[-1]["input"] == ["Tabby cat\nlandscape, pets, home"]
    (corrected,) = rows(db, "SELECT source_hash FROM embeddings")
    assert corrected != before
    run(asked)
    assert len(voyage.requests) == 2
    db.execute("DELETE FROM corrections")
    run(asked)
    assert voyage.requests[-1]["input"] == ["Golden sunset over the sea\nlandscape"]
    assert rows(db, "SELECT source_hash FROM embeddings") == [before]
    assert status(db, event) == "ready"


def test_a_correction_during_the_call_sends_the_message_round_again(
    voyage: VoyageServer, aws: Aws, db: Database
) -> None:
    event, other = analyzed(db), analyzed(db, headline="A fox")

    def corrected(request: Request) -> Answer:
        correct(db, event, headline="Tabby cat")
        return voyage_server.vectors(request, tokens=50)

    voyage.answer = corrected
    assert failed(run(batch(event, other))) == ["message-0"]
    assert (status(db, event), status(db, other)) == ("analyzed", "ready")
    voyage.answer = voyage_server.vectors
    assert failed(run(batch(event))) == []
    assert voyage.requests[-1]["input"] == ["Tabby cat\nlandscape"]
    assert status(db, event) == "ready"


def test_a_correction_gives_a_refused_item_another_try(offline: Any, db: Database) -> None:
    event = analyzed(db, headline="!!!")
    db.execute("UPDATE analyses SET raw_response = '{}'")
    run(batch(event))
    assert status(db, event) == "failed"
    correct(db, event, summary="A cat")
    run(batch(event))
    (row,) = rows(db, "SELECT status, error_code, error_message FROM items")
    assert row == {"status": "ready", "error_code": None, "error_message": None}


def test_an_item_that_ends_loses_the_vector_of_an_older_analysis(offline: Any, db: Database) -> None:
    event = analyzed(db)
    run(batch(event))
    again = analyzed(db, headline="?", item_id=UUID(event["item_id"]), version=2)
    db.execute("UPDATE analyses SET raw_response = '{}' WHERE version = 2")
    run(batch(again))
    assert rows(db, "SELECT * FROM embeddings") == []


def test_every_sample_event_is_taken(offline: Any, aws: Aws, db: Database) -> None:
    samples = {path.stem: json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json"))}
    assert sorted(samples) == ["direct", "envelope", "queue"]
    bodies = [json.loads(record["body"])["detail"]["data"] for record in samples["queue"]["Records"]]
    events = [
        analyzed(db, body["user_id"], item_id=UUID(body["item_id"]), object_version=body["object_version"])
        for body in bodies
    ]
    assert failed(run(samples["queue"])) == []
    assert {status(db, event) for event in events} == {"ready"}
    assert run(samples["envelope"])["outcome"] == "EmbeddingComplete"
    assert run(samples["direct"])["outcome"] == "EmbeddingComplete"
    assert len(aws.published()) == 4


def test_a_message_that_is_no_event_fails_alone(offline: Any, db: Database) -> None:
    event = batch(analyzed(db), analyzed(db))
    event["Records"][0]["body"] = "no JSON"
    assert failed(run(event)) == ["message-0"]
    assert len(rows(db, "SELECT * FROM embeddings")) == 1


def test_a_lost_database_gives_the_messages_back(offline: Any, aws: Aws, db: Database) -> None:
    event = analyzed(db)
    clients.ssm().put_parameter(
        Name=offline["DATABASE_URL_PARAMETER"],
        Value="postgresql://127.0.0.1:9/nothing",
        Type="SecureString",
        Overwrite=True,
    )
    database.close()
    answer: dict[str, Any] = lambda_handler(batch(event), LambdaContext())
    assert failed(answer) == ["message-0"]


def test_the_key_is_in_no_log(voyage: VoyageServer, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    voyage.will_answer(voyage_server.UNAUTHORIZED)
    run(batch(analyzed(db, headline="a secret headline")))
    run(batch(analyzed(db, headline="a secret headline")))
    logged = caplog.text + str([vars(record) for record in caplog.records])
    assert "message failed" in logged
    assert KEY not in logged
    assert "secret headline" not in logged


@pytest.mark.parametrize(
    "statement",
    [
        store.ITEMS,
        store.SAME_TEXT,
        store.LOCK_CURRENT,
        store.CORRECTED,
        store.KEEP,
        store.READY,
        store.FORGET,
    ],
)
def test_every_statement_names_its_user(statement: str) -> None:
    assert "user_id" in statement
