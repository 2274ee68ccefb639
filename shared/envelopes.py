"""The three ways in which a stage is called, told apart in one place.

- An SQS batch whose records hold EventBridge envelopes: the queue between two stages.
- One EventBridge envelope: `sam local invoke` with a sample event, or a rule without a queue.
- A direct payload: the state machine, an operator, another function.

A stage is written once, as a function of one message (`respond`) or of a batch (`respond_together`).
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ValidationError

from shared import clients
from shared.errors import InvalidEventError, TransientError
from shared.events import MAX_CORRELATION_ID

logger = Logger()

T = TypeVar("T", bound=BaseModel)
Result = Mapping[str, Any]

BACKOFF_SECONDS = 5
MAX_BACKOFF_SECONDS = 600
FAILED_SECONDS = 30
"""Until a message that failed for no known reason comes again. It needs a person, who hears of it once it
is a dead letter: the queue's own visibility time-out would put that off for hours."""


@dataclass(frozen=True)
class Message(Generic[T]):
    """One thing to do.

    Attributes:
        body: the validated data.
        correlation_id: follows a picture through every stage, log line and event.
        attempt: 1 for the first delivery; a later one lets a stage try another provider.
    """

    body: T
    correlation_id: str
    attempt: int


def respond(
    event: Mapping[str, Any],
    context: LambdaContext,
    model: type[T],
    process: Callable[[Message[T]], Result],
) -> dict[str, Any]:
    """Call `process` for each message of an event.

    Returns:
        For a queue, `{"batchItemFailures": [...]}`: only what failed is delivered again. Otherwise
        what `process` returned.

    Raises:
        Exception: outside a queue, whatever `process` raises, for the caller to retry or report.
    """

    def process_each(messages: Sequence[Message[T]]) -> list[Result | Exception]:
        return [_attempt(process, message) for message in messages]

    return respond_together(event, context, model, process_each)


def respond_together(
    event: Mapping[str, Any],
    context: LambdaContext,
    model: type[T],
    process_all: Callable[[Sequence[Message[T]]], Sequence[Result | Exception]],
) -> dict[str, Any]:
    """Call `process_all` once with every message of an event, for work that is cheaper in batches.

    `process_all` answers with one result or exception per message, in order. What it raises itself
    counts for every message.

    Returns and raises: as `respond`.
    """
    if "Records" in event:
        return {"batchItemFailures": _drain(event["Records"], model, process_all)}
    if "detail-type" in event:
        message = _from_envelope(event, model, attempt=1)
    else:
        correlation_id = _clipped(event.get("correlation_id") or context.aws_request_id)
        message = Message(_validate(model, event), correlation_id, int(event.get("attempt", 1)))
    logger.append_keys(correlation_id=message.correlation_id)
    try:
        (result,) = process_all([message])
        if isinstance(result, Exception):
            raise result
    except TransientError as error:
        if type(error) is TransientError:
            raise
        # Lambda tells the class's name only, and the state machine tries again what has this one.
        raise TransientError(str(error)) from error
    return dict(result)


def _attempt(process: Callable[[Message[T]], Result], message: Message[T]) -> Result | Exception:
    logger.append_keys(correlation_id=message.correlation_id)
    try:
        return process(message)
    except Exception as error:  # noqa: BLE001 - handed back: one bad message must not fail its batch
        return error


def _drain(
    records: Sequence[Mapping[str, Any]],
    model: type[T],
    process_all: Callable[[Sequence[Message[T]]], Sequence[Result | Exception]],
) -> list[dict[str, str]]:
    """Process a batch and return the entries of `batchItemFailures`."""
    failures: list[str] = []
    ready: list[tuple[Mapping[str, Any], Message[T]]] = []
    for record in records:
        try:
            ready.append((record, _from_record(record, model)))
        except InvalidEventError as error:
            failures.append(_give_back(record, error, correlation_id="unknown"))
    results: Sequence[Result | Exception] = []
    if ready:
        try:
            results = process_all([message for _, message in ready])
        except Exception as error:  # noqa: BLE001 - counts for every message of the batch
            results = [error] * len(ready)
    for (record, message), result in zip(ready, results, strict=True):
        if isinstance(result, Exception):
            failures.append(_give_back(record, result, message.correlation_id))
    return [{"itemIdentifier": message_id} for message_id in failures]


def _from_record(record: Mapping[str, Any], model: type[T]) -> Message[T]:
    try:
        envelope = json.loads(record["body"])
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("the body of a queue message is not JSON") from error
    if not isinstance(envelope, dict):
        raise InvalidEventError("the body of a queue message is not an EventBridge envelope")
    return _from_envelope(envelope, model, int(record["attributes"]["ApproximateReceiveCount"]))


def _from_envelope(envelope: Mapping[str, Any], model: type[T], attempt: int) -> Message[T]:
    detail = envelope.get("detail")
    if not isinstance(detail, dict):
        raise InvalidEventError("an EventBridge envelope without a detail")
    ours = isinstance(detail.get("metadata"), dict) and isinstance(detail.get("data"), dict)
    correlation_id = detail["metadata"].get("correlation_id") if ours else envelope.get("id")
    body = _validate(model, detail["data"] if ours else detail)
    return Message(body, _clipped(correlation_id or "unknown"), attempt)


def _clipped(correlation_id: object) -> str:
    """Return an id from outside as the contracts allow it: not for its length is a message refused."""
    return str(correlation_id)[:MAX_CORRELATION_ID]


def _validate(model: type[T], data: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Of pydantic's own sentences some quote the value; those that our validators wrote never do.
        wrong = ", ".join(
            ".".join(map(str, e["loc"])) or (e["msg"] if e["type"] == "value_error" else e["type"])
            for e in error.errors()
        )
        # Not chained: pydantic quotes what it was given, and the chain is logged.
        raise InvalidEventError(f"not a {model.__name__}: {wrong}") from None


def _give_back(record: Mapping[str, Any], error: Exception, correlation_id: str) -> str:
    """Log why a message goes back to its queue, and choose when it comes again.

    A message that failed would otherwise stay invisible for the queue's whole visibility time-out,
    six times the function's. The pause after a transient error grows, with jitter, so that a throttled
    model is not hit by all at once; at least half of it is waited, so that the deliveries that a queue
    allows last as long as they are meant to.

    Returns:
        The message's id.
    """
    logger.append_keys(correlation_id=correlation_id)
    message_id: str = record["messageId"]
    attempt = int(record["attributes"]["ApproximateReceiveCount"])
    if isinstance(error, TransientError):
        ceiling = min(BACKOFF_SECONDS * 2 ** (attempt - 1), MAX_BACKOFF_SECONDS)
        delay = random.randint(ceiling // 2, ceiling)  # noqa: S311 - jitter, not a secret
        logger.warning(
            "message goes back to its queue", reason=str(error), attempt=attempt, delay_seconds=delay
        )
    else:
        delay = FAILED_SECONDS
        logger.error("message failed", exc_info=error, message_id=message_id, attempt=attempt)
    try:
        clients.sqs().change_message_visibility(
            QueueUrl=_queue_url(record["eventSourceARN"]),
            ReceiptHandle=record["receiptHandle"],
            VisibilityTimeout=delay,
        )
    except (ClientError, BotoCoreError) as failure:
        # It comes back all the same, only later.
        logger.warning("visibility not changed", exc_info=failure)
    return message_id


def _queue_url(arn: str) -> str:
    _, _, _, _, account, name = arn.split(":", 5)
    return clients.sqs().get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
