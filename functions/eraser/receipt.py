"""The receipt of an erasure: opened when it is asked for, added to step by step, signed in the end."""

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from shared import database, erasures

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

_ADD_ROWS = """
UPDATE erasures
   SET removed = jsonb_set(removed, ARRAY['rows', %(table)s],
                           to_jsonb(coalesce((removed #>> ARRAY['rows', %(table)s])::bigint, 0) + %(count)s))
 WHERE user_id = %(user_id)s
"""

_ADD_OBJECTS = """
UPDATE erasures
   SET removed = removed || jsonb_build_object(
           'objects', (removed ->> 'objects')::bigint + %(objects)s,
           'bytes', (removed ->> 'bytes')::bigint + %(bytes)s)
 WHERE user_id = %(user_id)s
"""

_ADD_USER = """
UPDATE erasures SET removed = removed || '{"cognito_user": true}' WHERE user_id = %(user_id)s
"""

_HOLD = "SELECT erasure_id FROM erasures WHERE user_id = %(user_id)s FOR UPDATE"

_SIGN = """
UPDATE erasures
   SET finished_at = coalesce(finished_at, clock_timestamp())
 WHERE user_id = %(user_id)s
RETURNING erasure_id, removed
"""


def asked(user_id: str, erasure_id: UUID | None) -> "DictRow | None":
    """Return the erasure that is to be done, None where nobody asked for this one.

    Args:
        erasure_id: None begins one, unless there is one.
    """
    with database.transaction() as cursor:
        if erasure_id is None:
            return erasures.begin(cursor, user_id, uuid4())
        row = erasures.find(cursor, user_id)
    return row if row is not None and row["erasure_id"] == erasure_id else None


def hold(cursor: "Cursor[DictRow]", user_id: str) -> None:
    """Let no other delivery of the same erasure take a step until the end of the transaction."""
    cursor.execute(_HOLD, {"user_id": user_id})


def add_rows(cursor: "Cursor[DictRow]", user_id: str, table: str, count: int) -> None:
    """Note rows that this transaction has deleted."""
    cursor.execute(_ADD_ROWS, {"user_id": user_id, "table": table, "count": count})


def add_objects(user_id: str, objects: int, size: int) -> None:
    """Note versions of objects that are gone, and their bytes."""
    with database.transaction() as cursor:
        cursor.execute(_ADD_OBJECTS, {"user_id": user_id, "objects": objects, "bytes": size})


def add_user(user_id: str) -> None:
    """Note that there is somebody to delete in Cognito."""
    with database.transaction() as cursor:
        cursor.execute(_ADD_USER, {"user_id": user_id})


def sign(user_id: str) -> "DictRow":
    """Write down that nothing is left, and return the receipt."""
    with database.transaction() as cursor:
        row = cursor.execute(_SIGN, {"user_id": user_id}).fetchone()
    assert row is not None  # noqa: S101 - it outlives everything else of its user
    return row
