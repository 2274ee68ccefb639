"""Write down who tried to sign in, and how it ended."""

import json
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

Outcome = Literal["allowed", "suspended"]

WINDOW_SECONDS = 15
"""Attempts this close to each other are one row with a count. Cognito, which asks up to three times, five
seconds apart, says nowhere that it asks again. And anybody may try anybody's address, before any password is
looked at: so nobody can fill the table."""

_AGAIN = """
UPDATE audit_log
   SET detail = jsonb_set(detail, '{attempts}', to_jsonb((detail ->> 'attempts')::integer + 1))
 WHERE user_id = %(user_id)s
   AND audit_id = (SELECT max(audit_id) FROM audit_log WHERE user_id = %(user_id)s)
   AND event = 'sign_in'
   AND outcome = %(outcome)s
   AND detail ->> 'client_id' = %(client_id)s
   AND occurred_at > clock_timestamp() - make_interval(secs => %(window)s)
"""

_FIRST = """
INSERT INTO audit_log (user_id, event, outcome, detail)
VALUES (%(user_id)s, 'sign_in', %(outcome)s, %(detail)s)
"""


def record(cursor: "Cursor[DictRow]", user_id: str, outcome: Outcome, client_id: str) -> None:
    """Count one attempt.

    Args:
        outcome: as far as it is decided here; whether the password is right comes later.
        client_id: of the application that somebody signs in with.
    """
    values = {
        "user_id": user_id,
        "outcome": outcome,
        "client_id": client_id,
        "window": WINDOW_SECONDS,
        "detail": json.dumps({"client_id": client_id, "attempts": 1}),
    }
    cursor.execute(_AGAIN, values)
    if cursor.rowcount == 0:
        cursor.execute(_FIRST, values)
