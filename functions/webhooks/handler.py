"""Show an operator what providers told, and send some of it round again.

Whoever may invoke this function sees everybody's: no route of the API leads here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel, StringConstraints

from functions.webhooks import masking, rows
from functions.webhooks.rows import Filters, Place
from shared import bus
from shared.envelopes import Message, respond
from shared.events import WebhookReceived
from shared.outcomes import Outcome, Provider

logger = Logger()

MOST_LISTED = 200
MOST_REPLAYED = 1000
"""In one invocation. The rest is for the next one."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Chosen(Asked):
    """Which events are meant: those that fit everything that is said."""

    provider: Provider | None = None
    type: Name | None = None
    outcome: Outcome | Literal["none"] | None = Field(None, description="none: nobody has handled it yet")
    since: AwareDatetime | None = Field(None, description="when it was received, by our clock")

    @property
    def filters(self) -> Filters:
        return Filters(self.provider, self.type, self.outcome, self.since)


class ListThem(Chosen):
    action: Literal["list"]
    limit: int = Field(50, ge=1, le=MOST_LISTED)
    after: Place | None = Field(None, description="`next` of the page before")


class ShowOne(Asked):
    action: Literal["show"]
    event_id: Name
    provider: Provider | None = None
    whole: bool = Field(False, description="the body as it came, with names and addresses")


class ReplayThem(Chosen):
    action: Literal["replay"]
    event_ids: list[Name] | None = Field(None, min_length=1, max_length=MOST_REPLAYED)
    limit: int = Field(100, ge=1, le=MOST_REPLAYED)
    dry_run: bool = False


class Command(RootModel[Annotated[ListThem | ShowOne | ReplayThem, Field(discriminator="action")]]):
    """What an operator asks for."""


def process(message: Message[Command]) -> Mapping[str, Any]:
    match message.body.root:
        case ListThem() as asked:
            found, more = rows.newest(asked.filters, asked.limit, asked.after)
            following = rows.place(found[-1]).model_dump(mode="json") if more else None
            return {"events": [row.record() for row in found], "next": following}
        case ShowOne() as asked:
            return {
                "events": [show(row, whole=asked.whole) for row in rows.named(asked.event_id, asked.provider)]
            }
        case ReplayThem() as asked:
            return replay(asked, message.correlation_id)


def show(row: rows.Row, *, whole: bool) -> Mapping[str, Any]:
    return {**row.record(), "body": row.body if whole else masking.masked(row.body)}


def replay(asked: ReplayThem, correlation_id: str) -> Mapping[str, Any]:
    """Publish events again, the oldest first. Whoever hears of them finds done what is done."""
    found, more = rows.oldest(asked.filters, asked.event_ids, asked.limit)
    if not asked.dry_run:
        events = [
            WebhookReceived(provider=row.provider, event_id=row.event_id, event_type=row.event_type)
            for row in found
        ]
        bus.publish(events, correlation_id)
        rows.published(found)
        logger.info("webhooks replayed", count=len(found))
    return {
        "events": [row.record() for row in found],
        "replayed": 0 if asked.dry_run else len(found),
        "more": more,
    }


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, Command, process)
