"""Uploads that were asked for and never came."""

from shared import database, items, objects
from shared.errors import RejectedError
from shared.events import ItemRejected

AT_ONCE = 1000
NEVER_CAME = RejectedError("gone", "Nothing was uploaded within a day.")

ABANDONED_OF_ALL = """
SELECT user_id, item_id, object_key, correlation_id FROM items
 WHERE status = 'pending' AND created_at < now() - interval '1 day'
 ORDER BY created_at
 LIMIT %(limit)s
"""

LOCKED = """
SELECT status FROM items WHERE user_id = %(user_id)s AND item_id = %(item_id)s FOR UPDATE
"""


def expire(bucket: str) -> list[tuple[ItemRejected, str]]:
    """End pending items whose original is not there after a day; returns the events to publish.

    One that is there has lost its event, and is the sweeper's.

    Raises:
        TransientError: S3 or the database did not answer.
    """
    events = []
    for row in database.fetch_all(ABANDONED_OF_ALL, {"limit": AT_ONCE}):
        if objects.exists(bucket, row["object_key"]):
            continue
        names = {"user_id": row["user_id"], "item_id": row["item_id"]}
        with database.transaction() as cursor:
            now = cursor.execute(LOCKED, names).fetchone()
            if now is None or now["status"] != "pending":
                continue
            event = items.end(
                cursor, row["user_id"], row["item_id"], "image_processor", "failed", NEVER_CAME, None
            )
        events.append((event, row["correlation_id"] or str(row["item_id"])))
    return events
