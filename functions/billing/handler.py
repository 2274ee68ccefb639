"""Turn what Stripe has told into what its customers may have here."""

from collections.abc import Mapping
from typing import Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.billing import store
from functions.billing.settling import Settled, as_it_is, settle
from functions.billing.told import TYPES
from shared import bus, database, outcomes
from shared.envelopes import Message, respond
from shared.errors import InvalidEventError, MagpieError
from shared.events import Contract

logger = Logger()


class BillingError(MagpieError):
    """Something about money that a person has to look at: the message ends as a dead letter, which alarms."""


class ToSettle(Contract):
    """What `WebhookReceived` says, or a direct payload."""

    provider: Literal["stripe"] = "stripe"
    event_id: str = Field(min_length=1, max_length=255)


def process(message: Message[ToSettle]) -> Mapping[str, Any]:
    event_id = message.body.event_id
    row = store.event(event_id)
    if row is None:
        logger.warning("event is not there any more", event_id=event_id)
        return {"event_id": event_id, "outcome": "ignored"}
    settled = _settled(event_id, row["event_type"], row["subject"])
    changes = list(settled.changes)
    if row["handled"] and settled.user_id and not changes:
        # Whoever handled it may have died before they could say so.
        changes = as_it_is(settled.user_id)
    bus.publish(changes, message.correlation_id)
    logger.info("event handled", event_id=event_id, outcome=settled.outcome, reason=settled.reason)
    if settled.alarm:
        raise BillingError(settled.reason)
    return {"event_id": event_id, "outcome": settled.outcome, "reason": settled.reason}


def _settled(event_id: str, event_type: str, customer_id: str) -> Settled:
    """Settle an event, and note what became of it in the same transaction."""
    if event_type not in TYPES:
        return _noted(event_id, Settled("ignored", "nothing is done with events of this type"))
    if not customer_id:
        return _noted(event_id, Settled("ignored", "it is about no customer"))
    try:
        with database.transaction() as cursor:
            settled = settle(cursor, event_id, customer_id)
            outcomes.handled(cursor, "stripe", event_id, settled.outcome, settled.reason, settled.user_id)
    except InvalidEventError as error:
        return _noted(event_id, Settled("failed", str(error), alarm=True))
    return settled


def _noted(event_id: str, settled: Settled) -> Settled:
    with database.transaction() as cursor:
        outcomes.handled(cursor, "stripe", event_id, settled.outcome, settled.reason, settled.user_id)
    return settled


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, ToSettle, process)
