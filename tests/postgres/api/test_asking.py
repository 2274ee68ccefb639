"""What can be asked of an item, from the request to its effect in the stage that hears of it."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from functions.analyzer.handler import lambda_handler as analyzer
from functions.embedder.handler import lambda_handler as embedder
from functions.image_processor.handler import lambda_handler as image_processor
from shared import clients
from tests.conftest import Aws, LambdaContext
from tests.fakes.http_api import Answer, Caller, assert_problem
from tests.fakes.pictures import picture
from tests.postgres.api.stages import Pipeline

Database = psycopg.Connection[dict[str, Any]]

ACTIONS = ("analyze", "resize-only", "embed")


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The API's, on top of those of the stages behind it."""
    stages = [function_env(name) for name in ("ImageProcessor", "Embedder")]
    stages.append(function_env("Analyzer", ANALYZER="offline"))
    return {name: value for each in stages for name, value in each.items()} | function_env(
        "Api", EMBEDDER="offline"
    )


@pytest.fixture
def pipeline(environment: dict[str, str], aws: Aws, db: Database) -> Pipeline:
    return Pipeline(aws, db)


def hears(stage: Any, envelope: dict[str, Any]) -> dict[str, Any]:
    """Have a stage hear of an event; what it said."""
    return stage(json.loads(json.dumps(envelope)), LambdaContext())  # type: ignore[no-any-return]


def only_event(aws: Aws) -> dict[str, Any]:
    (envelope,) = aws.published()
    return envelope


class TestTheWholeEffect:
    @pytest.fixture
    def item_id(self, alice: Caller, pipeline: Pipeline) -> str:
        """A picture that has gone all the way."""
        item_id = str(alice.post("/items", {"filename": "a.jpg"}).body["item_id"])
        pipeline.deliver(pipeline.upload("alice", item_id))
        hears(analyzer, only_event(pipeline.aws))
        hears(embedder, only_event(pipeline.aws))
        assert only_event(pipeline.aws)["detail-type"] == "EmbeddingComplete"
        assert alice.get(f"/items/{item_id}").body["status"] == "ready"
        return item_id

    def test_of_analyze_is_a_new_version_once_for_each_request(
        self, item_id: str, alice: Caller, aws: Aws, db: Database
    ) -> None:
        answer = alice.post(f"/items/{item_id}/analyze", idempotency_key="again")
        assert answer.status == 202
        assert answer.body == {"item_id": item_id, "run_id": answer.body["run_id"], "status": "requested"}
        asked = only_event(aws)
        assert asked["detail-type"] == "AnalysisRequested"
        assert asked["detail"]["metadata"]["correlation_id"] == alice.request_id
        for _ in range(2):  # the queue delivers twice
            assert hears(analyzer, asked)["analysis_version"] == 2
        versions = alice.get(f"/items/{item_id}/analyses").body["analyses"]
        assert [(each["version"], each["current"], each["run_id"]) for each in versions] == [
            (2, True, answer.body["run_id"]),
            (1, False, None),
        ]
        assert len(db.execute("SELECT FROM model_replies").fetchall()) == 2
        assert {event["detail-type"] for event in aws.published()} == {"AnalysisComplete"}
        # The same request again is the same run, and no event.
        assert alice.post(f"/items/{item_id}/analyze", idempotency_key="again").body == answer.body
        assert aws.published() == []
        # Another one is another run.
        other = alice.post(f"/items/{item_id}/analyze").body
        assert other["run_id"] != answer.body["run_id"]
        assert hears(analyzer, only_event(aws))["analysis_version"] == 3

    def test_of_analyze_by_somebody_else_names_them(
        self, item_id: str, alice: Caller, aws: Aws, db: Database
    ) -> None:
        body = {"provider": "anthropic", "model": "claude-haiku-5-5"}
        run_id = alice.post(f"/items/{item_id}/analyze", body).body["run_id"]
        data = only_event(aws)["detail"]["data"]
        (row,) = db.execute("SELECT object_version FROM items").fetchall()
        assert data == {
            "user_id": "alice",
            "item_id": item_id,
            "object_version": row["object_version"],
            "run_id": run_id,
            "providers": ["anthropic"],
            "model": "claude-haiku-5-5",
        }
        alice.post(f"/items/{item_id}/analyze", {"provider": "offline"})
        assert hears(analyzer, only_event(aws))["provider"] == "offline"

    def test_of_resize_only_is_new_derivatives_and_nothing_else(
        self, item_id: str, alice: Caller, aws: Aws, db: Database
    ) -> None:
        before = alice.get(f"/items/{item_id}").body
        keys = {"images", "thumbnails"}

        def derivatives() -> dict[str, int]:
            listed = aws.s3.list_object_versions(Bucket=aws.media)["Versions"]
            return {part: sum(f"/{part}/" in each["Key"] for each in listed) for part in keys}

        assert derivatives() == {"images": 1, "thumbnails": 1}
        assert alice.post(f"/items/{item_id}/resize-only").status == 202
        asked = only_event(aws)
        assert (asked["detail-type"], asked["detail"]["data"]["announce"]) == ("RenditionRequested", False)
        for _ in range(2):
            assert hears(image_processor, asked)["status"] == "ready"
        assert derivatives() == {"images": 2, "thumbnails": 2}
        assert aws.published() == [], "no model is asked"
        after = alice.get(f"/items/{item_id}").body
        assert (after["status"], after["analysis"]) == ("ready", before["analysis"])
        assert len(after["timeline"]) == len(before["timeline"]) + 1
        assert len(db.execute("SELECT FROM model_replies").fetchall()) == 1

    def test_of_embed_is_the_vector_where_it_is_missing(
        self, item_id: str, alice: Caller, aws: Aws, db: Database
    ) -> None:
        db.execute("DELETE FROM embeddings")
        assert alice.post(f"/items/{item_id}/embed").status == 202
        asked = only_event(aws)
        assert asked["detail-type"] == "EmbeddingRequested"
        for _ in range(2):
            assert hears(embedder, asked)["outcome"] == "EmbeddingComplete"
        assert len(db.execute("SELECT FROM embeddings").fetchall()) == 1


class TestWhatCannotBeAsked:
    def test_of_an_item_without_a_picture(self, alice: Caller, aws: Aws, db: Database) -> None:
        bare: dict[str, Any] = {"vector": None, "analysis_version": None, "image_width": None}
        for status, refused in (
            ("pending", set(ACTIONS)),
            ("rejected", set(ACTIONS)),
            ("processed", {"embed"}),
            ("failed", {"embed"}),
            ("analyzed", set()),
            ("ready", set()),
        ):
            item_id = picture(db, "alice", **bare, status=status)
            for action in ACTIONS:
                answer = alice.post(
                    f"/items/{item_id}/{action}", idempotency_key=f"{status} {action}".replace(" ", "-")
                )
                if action in refused:
                    assert_problem(answer, 409, "item-not-fit")
                else:
                    assert answer.status == 202, (status, action)
        assert len(aws.published()) == 10

    def test_is_not_remembered_against_the_item(self, alice: Caller, aws: Aws, db: Database) -> None:
        item_id = picture(db, "alice", vector=None, status="pending")
        assert alice.post(f"/items/{item_id}/embed", idempotency_key="k").status == 409
        db.execute("UPDATE items SET status = 'ready'")
        assert alice.post(f"/items/{item_id}/embed", idempotency_key="k").status == 202

    def test_of_somebody_else_s_item(self, alice: Caller, bob: Caller, aws: Aws, db: Database) -> None:
        hers = picture(db, "alice", vector=None)
        for action in ACTIONS:
            answers: list[Answer] = [
                bob.post(f"/items/{item_id}/{action}", idempotency_key=f"{action}-{number}")
                for number, item_id in enumerate((hers, uuid4(), "no-id"))
            ]
            for answer in answers:
                assert_problem(answer, 404, "item-not-found")
                assert answer.body == answers[0].body
        assert aws.published() == []

    def test_in_words_that_do_not_fit(self, alice: Caller, aws: Aws, db: Database) -> None:
        item_id = picture(db, "alice", vector=None)
        for body, field in (
            ({"provider": "nobody"}, "body.provider"),
            ({"provider": "anthropic", "model": ""}, "body.model"),
            ({"provider": "anthropic", "model": "two words"}, "body.model"),
            ({"provider": "anthropic", "model": "x" * 201}, "body.model"),
            ({"model": "claude-haiku-5-5"}, "body"),
            ({"provider": "offline", "model": "offline-2"}, "body"),
            ({"prompt": "say this"}, "body.prompt"),
            ([], "body"),
        ):
            answer = alice.post(f"/items/{item_id}/analyze", body)
            assert_problem(answer, 422, "invalid-input")
            assert [error["field"] for error in answer.body["errors"]] == [field]
        for action in ACTIONS:
            for bad in ("{", b"\xff", "[" * 100_000):
                answer = alice("POST", f"/items/{item_id}/{action}", body=bad)
                assert_problem(answer, 400, "malformed-request")
            answer = alice.post(f"/items/{item_id}/{action}", idempotency_key="x" * 256)
            assert_problem(answer, 400, "invalid-idempotency-key")
        assert aws.published() == []

    def test_while_the_bus_does_not_answer(
        self, alice: Caller, aws: Aws, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item_id = picture(db, "alice", vector=None)

        def drop(**_: Any) -> dict[str, Any]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}

        with monkeypatch.context() as patched:
            patched.setattr(clients.events(), "put_events", drop)
            for action in ACTIONS:
                answer = alice.post(f"/items/{item_id}/{action}", idempotency_key=action)
                assert_problem(answer, 503, "unavailable")
        for action in ACTIONS:
            assert alice.post(f"/items/{item_id}/{action}", idempotency_key=action).status == 202
        assert len(aws.published()) == 3
