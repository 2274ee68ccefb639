"""What SNS delivered: read from where the webhook kept it, and marked with what became of it."""

from typing import TYPE_CHECKING, Any

from shared import incoming
from shared.incoming import RefusedError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

# Nobody knows yet whose it is.
BODY_OF_ALL = "SELECT body FROM webhook_events WHERE provider = 'sns' AND event_id = %(event_id)s FOR UPDATE"

# It holds the address of somebody who was erased meanwhile.
FORGET_OF_ALL = "DELETE FROM webhook_events WHERE provider = 'sns' AND event_id = %(event_id)s"


def body(cursor: "Cursor[DictRow]", event_id: str) -> str | None:
    """Return what was delivered, None where it is gone. Nobody else works on it meanwhile."""
    row = cursor.execute(BODY_OF_ALL, {"event_id": event_id}).fetchone()
    return None if row is None else str(row["body"])


def forget(cursor: "Cursor[DictRow]", event_id: str) -> None:
    """Delete a delivery."""
    cursor.execute(FORGET_OF_ALL, {"event_id": event_id})


def event(body: str) -> dict[str, Any] | None:
    """Return the event of SES inside of a notification, None where there is none."""
    try:
        said = incoming.parse(incoming.parse(body)["Message"])
    except (RefusedError, KeyError):
        return None
    # Identities speak the older form.
    if "eventType" not in said and "notificationType" in said:
        said["eventType"] = said["notificationType"]
    return said
