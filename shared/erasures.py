"""The end of an account: whoever had everything of theirs erased gets nothing new.

A row in `erasures` is both the receipt and the bar. Tokens stay valid for an hour after their user is
gone, upload forms for a quarter of one, and events may come days late: none of them may bring
anything back.
"""

from typing import TYPE_CHECKING
from uuid import UUID

from shared.errors import MagpieError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

LOCK_SECONDS = 5
"""How long an erasure waits for those who are writing for its user."""

_BARRED = "SELECT erasure_id FROM erasures WHERE user_id = %(user_id)s"

_BEGIN = """
INSERT INTO erasures (user_id, erasure_id)
VALUES (%(user_id)s, %(erasure_id)s)
    ON CONFLICT (user_id) DO NOTHING
"""

_ONE = """
SELECT user_id, erasure_id, requested_at, finished_at, removed
  FROM erasures
 WHERE user_id = %(user_id)s
"""


class AccountDeletedError(MagpieError):
    """Everything of this user was erased, or is just being erased: nothing is written for them."""


def refuse_erased(cursor: "Cursor[DictRow]", user_id: str) -> None:
    """Refuse to write for somebody who is erased; nobody else can be until the transaction ends.

    The first step of every transaction that makes rows or objects for a user, unless they hang on an item
    that exists and is locked. Writers do not wait for each other. An erasure waits for writers, and
    they for its beginning: so whatever was written is committed before the eraser looks.

    Raises:
        AccountDeletedError: nothing may be written.
    """
    if is_erased(cursor, user_id):
        raise AccountDeletedError("everything of this user was erased")


def is_erased(cursor: "Cursor[DictRow]", user_id: str) -> bool:
    """Say whether a user is erased. Who is not cannot be until the transaction ends, as `refuse_erased`."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended(%(account)s, 0))", {"account": _name(user_id)}
    )
    # A statement of its own, for it must see what was committed while the lock was waited for.
    return cursor.execute(_BARRED, {"user_id": user_id}).fetchone() is not None


def begin(cursor: "Cursor[DictRow]", user_id: str, erasure_id: UUID) -> "DictRow":
    """Bar an account for good, and return the row of its erasure: an earlier one where there is one.

    Args:
        cursor: of a transaction that has done nothing else yet.

    Raises:
        psycopg.errors.LockNotAvailable: somebody has been writing for this user for too long.
    """
    cursor.execute("SELECT set_config('lock_timeout', %(wait)s, true)", {"wait": f"{LOCK_SECONDS}s"})
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%(account)s, 0))", {"account": _name(user_id)}
    )
    cursor.execute(_BEGIN, {"user_id": user_id, "erasure_id": erasure_id})
    row = cursor.execute(_ONE, {"user_id": user_id}).fetchone()
    assert row is not None  # noqa: S101 - it was there, or has just been made
    return row


def find(cursor: "Cursor[DictRow]", user_id: str) -> "DictRow | None":
    """Return the row of a user's erasure, None where nobody asked for one."""
    return cursor.execute(_ONE, {"user_id": user_id}).fetchone()


def _name(user_id: str) -> str:
    return f"account/{user_id}"
