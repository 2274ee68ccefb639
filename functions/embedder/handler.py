"""Turn what was said of pictures into vectors, many to a call."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.embedder import batch, store, vectors, verdict
from functions.embedder.verdict import Ignored, Outcome, Task, ToEmbed, Waiting
from shared import bus, holding
from shared.envelopes import Message, respond_together
from shared.events import Event, ItemEvent, ItemRejected

logger = Logger()

Messages = Sequence[Message[ToEmbed]]


def process_all(messages: Messages) -> list[dict[str, Any] | Exception]:
    """Embed a batch: read, reuse, buy and commit call by call, publish, let go.

    Each call's vectors are committed directly after it, so that whatever happens later in the batch,
    what was paid for is kept. What a call may cost is set aside before it. What is not covered is a crash
    between a call's answer and its commit: these texts, 128 at most, are paid for again, a few hundredths
    of a cent.
    """
    started = monotonic()
    model, make = vectors.choose()
    rows = store.read([message.body for message in messages])
    verdicts = [verdict.judge(message.body, rows.get(message.body.key), model) for message in messages]
    tasks = {found.key: found for found in verdicts if isinstance(found, Task)}
    embedded = batch.embed(list(tasks.values()), model, make, started)
    outcomes = [embedded[found.key] if isinstance(found, Task) else found for found in verdicts]
    publish(messages, outcomes)
    return [answer(message, outcome) for message, outcome in zip(messages, outcomes, strict=True)]


def publish(messages: Messages, outcomes: Sequence[Outcome]) -> None:
    """Publish what is to be heard, once for messages that say the same."""
    events: dict[Event, str] = {}
    for message, outcome in zip(messages, outcomes, strict=True):
        if isinstance(outcome, Waiting):
            events.setdefault(holding.reached(outcome.user_id, outcome.error), message.correlation_id)
        elif isinstance(outcome, ItemRejected) or (isinstance(outcome, ItemEvent) and message.body.announce):
            events.setdefault(outcome, message.correlation_id)
    bus.publish_each(list(events.items()))


def answer(message: Message[ToEmbed], outcome: Outcome) -> dict[str, Any] | Exception:
    """Return what the message's queue, or whoever called, is told."""
    names: dict[str, Any] = {"correlation_id": message.correlation_id, "item_id": message.body.item_id}
    if isinstance(outcome, Exception):
        logger.warning("message not done", error=type(outcome).__name__, **names)
        return outcome
    result = {"item_id": str(message.body.item_id)}
    if isinstance(outcome, Ignored):
        result |= {"outcome": "ignored", "reason": outcome.reason}
    elif isinstance(outcome, Waiting):
        waits = holding.OVER_QUOTA
        result |= {"outcome": waits, "code": waits, "reason": outcome.error.sentence}
    else:
        result |= {"outcome": outcome.detail_type, **outcome.model_dump(mode="json", exclude_none=True)}
    logger.info("message done", outcome=result["outcome"], reason=result.get("reason"), **names)
    return result


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond_together(event, context, ToEmbed, process_all)
