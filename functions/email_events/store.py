"""Keep what became of mails: a row for each address, however often and in which order it is told."""

import json
from typing import TYPE_CHECKING

from functions.email_events.feedback import Feedback
from shared import erasures, mailboxes

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

_IS_SOMEBODY = "SELECT user_id FROM user_profiles WHERE user_id = %(user_id)s"

# Whose it is, not every event says: a notification of an identity has no tags.
KEEP_OF_ALL = """
INSERT INTO email_events (event_id, address_key, user_id, message_id, event_type, detail, occurred_at)
VALUES (%(event_id)s, %(address_key)s, %(user_id)s, %(message_id)s, %(event_type)s, %(detail)s,
        %(occurred_at)s)
    ON CONFLICT (event_id, address_key) DO UPDATE
   SET user_id = coalesce(email_events.user_id, excluded.user_id)
RETURNING xmax = 0 AS new
"""


def whose(cursor: "Cursor[DictRow]", tagged: str | None) -> str | None:
    """Return whose mail it was, None where nobody of that id is here.

    A tag is whatever somebody said who may send by this AWS account. It decides among whose events one is
    found, and nothing else.

    Raises:
        erasures.AccountDeletedError: of somebody who was erased.
    """
    if tagged is None:
        return None
    erasures.refuse_erased(cursor, tagged)
    row = cursor.execute(_IS_SOMEBODY, {"user_id": tagged}).fetchone()
    return None if row is None else str(row["user_id"])


def keep(cursor: "Cursor[DictRow]", feedback: Feedback, user_id: str | None) -> bool:
    """Write down what became of a mail, and whom to write to no more; returns whether any of it is new.

    What is known already suppresses nobody: an operator may have lifted it since, and looked at why.
    """
    new = [key for key in sorted(feedback.details) if _keep_one(cursor, feedback, key, user_id)]
    suppress(cursor, feedback, new)
    return bool(new)


def suppress(cursor: "Cursor[DictRow]", feedback: Feedback, keys: list[str]) -> None:
    """Put addresses on the list, if what became of the mail is a reason to."""
    if feedback.suppress is not None:
        for key in sorted(keys):
            mailboxes.suppress(cursor, key, feedback.suppress, feedback.occurred_at)


def _keep_one(cursor: "Cursor[DictRow]", feedback: Feedback, key: str, user_id: str | None) -> bool:
    row = cursor.execute(
        KEEP_OF_ALL,
        {
            "event_id": feedback.event_id,
            "address_key": key,
            "user_id": user_id,
            "message_id": feedback.message_id,
            "event_type": feedback.event_type,
            "detail": json.dumps(feedback.details[key]),
            "occurred_at": feedback.occurred_at,
        },
    ).fetchone()
    return bool(row and row["new"])
