"""Write down what became of mails that were sent, and stop writing to those who cannot or will not have any.

SES tells it by EventBridge, as well as it can, and by SNS through `email_webhook`. Both may tell the same.
"""

from collections.abc import Mapping
from typing import Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from functions.email_events import deliveries, feedback, listing, store
from functions.email_events.feedback import Feedback, SesEvent
from shared import database, outcomes
from shared.addresses import MAX_LENGTH
from shared.envelopes import Message, respond
from shared.erasures import AccountDeletedError

logger = Logger()

Result = Mapping[str, Any]


class Delivered(BaseModel):
    """What `WebhookReceived` says of a delivery of SNS."""

    provider: Literal["sns"]
    event_id: str = Field(min_length=1, max_length=255)


class Asked(BaseModel):
    """What an operator asks of the list of suppressed addresses, in a direct payload.

    Attributes:
        address: an address, or the key of one, which is all that the list shows.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["suppressed"]
    address: str | None = Field(None, min_length=1, max_length=MAX_LENGTH)
    limit: int = Field(100, ge=1, le=1000)
    after: listing.Place | None = None


class ToChange(BaseModel):
    """What an operator asks to have changed of it."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["suppress", "lift"]
    address: str = Field(min_length=1, max_length=MAX_LENGTH)


class Input(RootModel[SesEvent | Delivered | Asked | ToChange]):
    """The four things that this function is told."""


def process(message: Message[Input]) -> Result:
    match message.body.root:
        case SesEvent() as event:
            return keep(event)
        case Delivered(event_id=event_id):
            return keep_delivery(event_id)
        case Asked() as asked:
            if asked.address is not None:
                return listing.one(listing.key(asked.address))
            return listing.page(asked.limit, asked.after)
        case ToChange(action=action, address=address):
            return change(action, listing.key(address))


def change(action: Literal["suppress", "lift"], key: str) -> Result:
    """Do what an operator says to one address of the list."""
    logger.info("suppression changed by an operator", action=action, address_key=key)
    return listing.suppress(key) if action == "suppress" else listing.lift(key)


def keep(event: SesEvent) -> Result:
    """Keep an event that came by EventBridge."""
    told = feedback.read(event)
    if told is None:
        logger.info("nothing to keep", event_type=event.event_type)
        return {"status": "ignored"}
    with database.transaction() as cursor:
        try:
            new = store.keep(cursor, told, store.whose(cursor, told.tagged))
        except AccountDeletedError:
            store.suppress(cursor, told, list(told.details))
            logger.info("mail of somebody who was erased")
            return {"status": "ignored"}
    _log(told, new)
    return {"status": "kept" if new else "known"}


def keep_delivery(event_id: str) -> Result:
    """Keep what SNS delivered, and mark the delivery with what became of it, in one transaction."""
    with database.transaction() as cursor:
        body = deliveries.body(cursor, event_id)
        if body is None:
            logger.warning("delivery is gone", event_id=event_id)
            return {"status": "ignored"}
        told = _read(body)
        if told is None:
            outcomes.handled(cursor, "sns", event_id, "ignored", "It is no event of SES that is kept.")
            return {"status": "ignored"}
        try:
            user_id = store.whose(cursor, told.tagged)
        except AccountDeletedError:
            store.suppress(cursor, told, list(told.details))
            deliveries.forget(cursor, event_id)
            logger.info("mail of somebody who was erased")
            return {"status": "ignored"}
        new = store.keep(cursor, told, user_id)
        reason = None if new else "It was known already."
        outcomes.handled(cursor, "sns", event_id, "applied", reason, user_id)
    _log(told, new)
    return {"status": "kept" if new else "known"}


def _read(body: str) -> Feedback | None:
    try:
        return feedback.read(SesEvent.model_validate(deliveries.event(body)))
    except ValidationError:
        # Signed by SNS and of our topic, but of another kind than any that is known here.
        return None


def _log(told: Feedback, new: bool) -> None:
    logger.info(
        "mail event kept" if new else "mail event known already",
        event_type=told.event_type,
        mail=told.message_id,
        addresses=len(told.details),
        suppressed=told.suppress,
    )


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, Input, process)
