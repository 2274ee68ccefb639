"""What became of an event that a webhook kept: for those who handle it, and who need no bus for that."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

Provider = Literal["stripe", "sns"]
Outcome = Literal["applied", "ignored", "waiting", "failed"]

HANDLED_OF_ALL = """
UPDATE webhook_events
   SET handled_at = clock_timestamp(), outcome = %(outcome)s, reason = %(reason)s,
       user_id = coalesce(%(user_id)s, user_id)
 WHERE provider = %(provider)s AND event_id = %(event_id)s
"""


def handled(
    cursor: "Cursor[DictRow]",
    provider: Provider,
    event_id: str,
    outcome: Outcome,
    reason: str | None = None,
    user_id: str | None = None,
) -> None:
    """Note what became of an event, in the transaction that did it."""
    cursor.execute(
        HANDLED_OF_ALL,
        {
            "provider": provider,
            "event_id": event_id,
            "outcome": outcome,
            "reason": reason,
            "user_id": user_id,
        },
    )
