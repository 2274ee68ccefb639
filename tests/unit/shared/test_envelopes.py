"""The three ways in which a stage is called, and what becomes of each message."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pydantic import model_validator

from shared import clients, envelopes
from shared.envelopes import Message, respond, respond_together
from shared.errors import InvalidEventError, TransientError
from shared.events import ItemEvent

ITEM = "0193f000-0000-7000-8000-000000000001"
DATA = {"user_id": "u", "item_id": ITEM}
ENVELOPE = {
    "id": "envelope-id",
    "detail-type": "ImageProcessed",
    "detail": {
        "metadata": {"version": "1", "correlation_id": "c-1", "occurred_at": "2026-01-02T00:00:00Z"},
        "data": DATA,
    },
}


def record(message_id: str, body: object, attempt: int = 1, receipt: str = "r") -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": receipt,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(attempt)},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:magpie-queue",
    }


def seen(message: Message[ItemEvent]) -> dict[str, Any]:
    return {
        "user": message.body.user_id,
        "correlation_id": message.correlation_id,
        "attempt": message.attempt,
    }


@pytest.fixture
def queue_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients.sqs.cache_clear()
    with mock_aws():
        yield boto3.client("sqs").create_queue(
            QueueName="magpie-queue", Attributes={"VisibilityTimeout": "3600"}
        )["QueueUrl"]
    clients.sqs.cache_clear()


def test_a_queue_batch_gives_one_message_per_record(lambda_context: Any) -> None:
    got = []
    event = {"Records": [record("1", ENVELOPE), record("2", ENVELOPE, attempt=3)]}
    answer = respond(event, lambda_context, ItemEvent, lambda m: got.append(seen(m)) or {})
    assert answer == {"batchItemFailures": []}
    assert got == [
        {"user": "u", "correlation_id": "c-1", "attempt": 1},
        {"user": "u", "correlation_id": "c-1", "attempt": 3},
    ]


def test_one_envelope_is_processed_and_answered(lambda_context: Any) -> None:
    assert respond(ENVELOPE, lambda_context, ItemEvent, seen)["correlation_id"] == "c-1"


def test_an_envelope_of_another_service_is_told_by_its_id(lambda_context: Any) -> None:
    envelope = {"id": "envelope-id", "detail-type": "Object Created", "detail": DATA}
    assert respond(envelope, lambda_context, ItemEvent, seen)["correlation_id"] == "envelope-id"


def test_a_direct_payload_is_processed_and_answered(lambda_context: Any) -> None:
    answer = respond({**DATA, "attempt": 4}, lambda_context, ItemEvent, seen)
    assert answer == {"user": "u", "correlation_id": lambda_context.aws_request_id, "attempt": 4}


def test_outside_a_queue_an_error_reaches_the_caller_under_its_own_name(lambda_context: Any) -> None:
    def fail(message: Message[ItemEvent]) -> dict[str, Any]:
        raise TransientError("throttled")

    with pytest.raises(TransientError, match="throttled"):
        respond(DATA, lambda_context, ItemEvent, fail)
    with pytest.raises(InvalidEventError, match="item_id"):
        respond({"user_id": "u"}, lambda_context, ItemEvent, seen)


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        '"text"',
        "{}",
        '{"detail": 1}',
        '{"detail": {}}',
        "[" * 100_000,
        json.dumps({"detail": {"metadata": {}, "data": {"user_id": "a/b", "item_id": ITEM}}}),
    ],
)
def test_one_bad_record_does_not_fail_its_batch(body: str, lambda_context: Any) -> None:
    event = {"Records": [record("bad", body), record("good", ENVELOPE)]}
    got = []
    answer = respond(event, lambda_context, ItemEvent, lambda m: got.append(m) or {})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(got) == 1


def test_an_unexpected_error_fails_only_its_own_record(lambda_context: Any) -> None:
    def process(message: Message[ItemEvent]) -> dict[str, Any]:
        if message.attempt == 2:
            raise KeyError("bug")
        return {}

    event = {"Records": [record("1", ENVELOPE), record("2", ENVELOPE, attempt=2), record("3", ENVELOPE)]}
    assert respond(event, lambda_context, ItemEvent, process) == {
        "batchItemFailures": [{"itemIdentifier": "2"}]
    }


def test_a_transient_failure_comes_back_soon_rather_than_after_the_whole_visibility_time_out(
    queue_url: str, lambda_context: Any
) -> None:
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(ENVELOPE))
    (message,) = sqs.receive_message(QueueUrl=queue_url)["Messages"]

    def throttled(message: Message[ItemEvent]) -> dict[str, Any]:
        raise TransientError("throttled")

    event = {"Records": [record("1", message["Body"], receipt=message["ReceiptHandle"])]}
    answer = respond(event, lambda_context, ItemEvent, throttled)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    # The queue's own time-out is an hour; the first retry comes within five seconds.
    assert sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10)["Messages"]


def test_a_batch_is_processed_together_and_fails_in_parts(lambda_context: Any) -> None:
    def process_all(messages: Any) -> list[Any]:
        return [{} if message.attempt == 1 else ValueError("bad vector") for message in messages]

    event = {"Records": [record("1", ENVELOPE), record("2", ENVELOPE, attempt=2)]}
    assert respond_together(event, lambda_context, ItemEvent, process_all) == {
        "batchItemFailures": [{"itemIdentifier": "2"}]
    }


def test_what_a_whole_batch_raises_fails_every_record_of_it(lambda_context: Any) -> None:
    def process_all(messages: Any) -> list[Any]:
        raise RuntimeError("bug")

    event = {"Records": [record("1", ENVELOPE), record("2", "nonsense"), record("3", ENVELOPE)]}
    failed = respond_together(event, lambda_context, ItemEvent, process_all)["batchItemFailures"]
    assert sorted(entry["itemIdentifier"] for entry in failed) == ["1", "2", "3"]


def test_what_an_event_holds_is_not_logged_when_it_is_refused(
    lambda_context: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    envelope = {"detail": {"metadata": {}, "data": {"user_id": "hush-hush/", "item_id": "hush-hush"}}}
    event = {"Records": [record("1", envelope)]}
    assert respond(event, lambda_context, ItemEvent, seen)["batchItemFailures"]
    logged = caplog.text + "".join(capsys.readouterr())
    assert "message failed" in logged
    assert "hush-hush" not in logged


def test_a_message_that_failed_for_no_known_reason_comes_again_soon_too(
    queue_url: str, lambda_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelopes, "FAILED_SECONDS", 1)
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=queue_url, MessageBody="not json")
    (message,) = sqs.receive_message(QueueUrl=queue_url)["Messages"]
    event = {"Records": [record("1", message["Body"], receipt=message["ReceiptHandle"])]}
    assert respond(event, lambda_context, ItemEvent, seen)["batchItemFailures"]
    # The queue's own time-out is an hour, and each of its deliveries puts off the alarm by one.
    assert sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10)["Messages"]


def test_a_correlation_id_that_the_contracts_would_refuse_is_clipped(lambda_context: Any) -> None:
    payload = {**DATA, "correlation_id": "x" * 1000}
    assert respond(payload, lambda_context, ItemEvent, seen)["correlation_id"] == "x" * 128


def test_a_sentence_of_our_own_tells_why_an_event_was_refused(lambda_context: Any) -> None:
    class Upload(ItemEvent):
        @model_validator(mode="before")
        @classmethod
        def refuse(cls, data: Any) -> Any:
            raise ValueError("it belongs to nobody")

    with pytest.raises(InvalidEventError, match="it belongs to nobody"):
        respond(DATA, lambda_context, Upload, seen)
