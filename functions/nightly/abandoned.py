"""Uploads that were asked for and never came."""

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

from shared import bus, database, holding, items, objects
from shared.errors import RejectedError
from shared.events import ItemRejected

if TYPE_CHECKING:
    from psycopg.rows import DictRow

PAGE = 200
NEVER_CAME = RejectedError("gone", "Nothing was uploaded within a day.")

# By the time of the row: what is imported was created long before.
ABANDONED_OF_ALL = """
SELECT user_id, item_id, object_key, correlation_id, updated_at FROM items
 WHERE status = 'pending' AND updated_at < now() - interval '1 day'
   AND (%(after_updated_at)s::timestamptz IS NULL
        OR (updated_at, user_id, item_id)
           > (%(after_updated_at)s::timestamptz, %(after_user_id)s, %(after_item_id)s))
 ORDER BY updated_at, user_id, item_id
 LIMIT %(limit)s
"""

LOCKED = """
SELECT status, counted_bytes FROM items WHERE user_id = %(user_id)s AND item_id = %(item_id)s FOR UPDATE
"""


def expire(bucket: str, go_on: Callable[[], bool]) -> int:
    """End pending items whose original is not there after a day, and say so; returns how many they were.

    One that is there has lost its event, and is the sweeper's.

    Raises:
        TransientError: S3, the bus or the database did not answer.
    """
    ended = 0
    pages = database.pages(ABANDONED_OF_ALL, {}, ("updated_at", "user_id", "item_id"), PAGE)
    for page in takewhile(lambda _: go_on(), pages):
        missing = [row for row in page if not objects.exists(bucket, row["object_key"])]
        events = [
            (event, row["correlation_id"] or str(row["item_id"]))
            for row in missing
            if (event := _end(row)) is not None
        ]
        bus.publish_each(events)
        ended += len(events)
    return ended


def _end(row: "DictRow") -> ItemRejected | None:
    """End an item; None where it has moved since."""
    names = {"user_id": row["user_id"], "item_id": row["item_id"]}
    with database.transaction() as cursor:
        now = cursor.execute(LOCKED, names).fetchone()
        if now is None or now["status"] != "pending":
            return None
        ended = items.end(
            cursor, row["user_id"], row["item_id"], "image_processor", "failed", NEVER_CAME, None
        )
        holding.free_bytes(cursor, row["user_id"], row["item_id"], now["counted_bytes"])
        return ended
