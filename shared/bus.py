"""Publishing to the event bus, with AWS's limits held by our own code.

`PutEvents` answers 200 even when it dropped entries, and emulators accept what AWS refuses, so each
entry is checked before it is sent and accounted for afterwards.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from shared import clients
from shared.errors import InvalidEventError, PublishError
from shared.events import SOURCE, Announcement, detail
from shared.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

MAX_ENTRIES = 10
"""Entries per `PutEvents` call: an EventBridge quota."""
MAX_ENTRY_BYTES = 200_000
"""Our own cap on one entry: below the 256 KB that SQS and Lambda targets took for years."""
MAX_DETAIL_TYPE = 128
"""Characters of a detail-type: an EventBridge quota."""


class BusEnv(Settings):
    """Where events go."""

    event_bus: str = Field(alias="EVENT_BUS")


def entry(
    event: Announcement, bus: str, correlation_id: str, occurred_at: datetime
) -> "PutEventsRequestEntryTypeDef":
    """Return the `PutEvents` entry of an event.

    Raises:
        InvalidEventError: it is larger than we allow, or not expressible in JSON.
    """
    try:
        body = json.dumps(detail(event, correlation_id, occurred_at), allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise InvalidEventError(f"{event.detail_type} cannot be written as JSON") from error
    size = len(body) + len(SOURCE) + len(event.detail_type)
    if size > MAX_ENTRY_BYTES or len(event.detail_type) > MAX_DETAIL_TYPE:
        raise InvalidEventError(f"{event.detail_type} of {size} bytes is over the limit of {MAX_ENTRY_BYTES}")
    return {
        "Source": SOURCE,
        "DetailType": event.detail_type,
        "Detail": body,
        "EventBusName": bus,
        "Time": occurred_at,
    }


def publish(events: Sequence[Announcement], correlation_id: str) -> None:
    """Publish events about one cause, in order, ten to a call.

    Raises: as `publish_each`.
    """
    publish_each([(event, correlation_id) for event in events])


def publish_each(events: Sequence[tuple[Announcement, str]]) -> None:
    """Publish events, each with its own correlation id, in order, ten to a call.

    Raises:
        InvalidEventError: an event breaks a limit; nothing was sent.
        PublishError: the bus did not confirm every entry. Some may have been taken: every listener
            treats a second copy as nothing new.
    """
    now = datetime.now(UTC)
    bus = BusEnv.load().event_bus
    entries = [entry(event, bus, correlation_id, now) for event, correlation_id in events]
    for start in range(0, len(entries), MAX_ENTRIES):
        chunk = entries[start : start + MAX_ENTRIES]
        try:
            answer = clients.events().put_events(Entries=chunk)
        except (ClientError, BotoCoreError) as error:
            raise PublishError("the event bus did not answer") from error
        taken = [result for result in answer["Entries"] if result.get("EventId")]
        if len(taken) != len(chunk):
            codes = sorted({result.get("ErrorCode", "missing") for result in answer["Entries"]} - {"missing"})
            raise PublishError(f"the event bus took {len(taken)} of {len(chunk)} entries: {', '.join(codes)}")
