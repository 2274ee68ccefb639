"""The end of an item: nothing of it can be got back, and nothing brings it back.

First the database: one transaction leaves a mark and removes the row with all that hangs on it. Then the
objects, every version of them. Then the mark says so (`shared.deletion`). Whoever asks again after a
failure finds the mark and goes on, and so does the night's work; whatever still arrives for the item finds
it too, and is removed (image_processor).
docs/decisions/0011-deleting-an-item.md
"""

from dataclasses import dataclass
from uuid import UUID

from aws_lambda_powertools import Logger

from shared import database, deletion, erasures, items
from shared.errors import TransientError

logger = Logger(child=True)

WAIT_SECONDS = 5
"""How long a deletion waits for a stage that is just writing the item."""
ATTEMPTS = 3
"""At finding an item with the content it was seen with."""

ROW = "SELECT sha256, object_key FROM items WHERE user_id = %(user_id)s AND item_id = %(item_id)s"

MARK = """
INSERT INTO deleted_items (user_id, item_id, object_key)
VALUES (%(user_id)s, %(item_id)s, %(object_key)s)
    ON CONFLICT (user_id, item_id) DO UPDATE
   SET object_key = excluded.object_key, deleted_at = excluded.deleted_at, objects_removed_at = NULL
"""

# Of every content that the item ever had, the timeline tells, if no other item of the user has it.
FORGET = """
DELETE FROM model_replies
 WHERE model_replies.user_id = %(user_id)s
   AND model_replies.sha256 IN (SELECT %(sha256)s::text
                                 UNION
                                SELECT line.detail ->> 'sha256'
                                  FROM item_events AS line
                                 WHERE line.user_id = %(user_id)s AND line.item_id = %(item_id)s)
   AND NOT EXISTS (SELECT FROM items AS other
                    WHERE other.user_id = %(user_id)s AND other.item_id <> %(item_id)s
                      AND other.sha256 = model_replies.sha256)
"""

REMOVE = "DELETE FROM items WHERE user_id = %(user_id)s AND item_id = %(item_id)s"

MARKED = """
SELECT objects_removed_at
  FROM deleted_items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""


@dataclass(frozen=True)
class Marked:
    """A deleted item, and whether its objects are gone too."""

    finished: bool


def delete(user_id: str, item_id: UUID, uploads_bucket: str, media_bucket: str) -> bool:
    """Delete one of a user's items for good: its row, all that hangs on it, every version of its objects.

    Returns:
        Whether the user has, or had, such an item.

    Raises:
        AccountDeletedError: it goes with everything else of its user.
        TransientError: a stage has been writing it for too long, or S3 or the database gave up. Sent
            again, it goes on where it stopped.
    """
    marked = mark(user_id, item_id)
    if marked is None:
        return False
    if not marked.finished:
        removed = deletion.finish(user_id, item_id, uploads_bucket, media_bucket)
        if removed is not None:
            logger.info("item deleted", item_id=str(item_id), versions=removed.versions, bytes=removed.size)
    return True


def mark(user_id: str, item_id: UUID) -> Marked | None:
    """Remove the row of an item and leave a mark in its place.

    The locks are taken as image_processor takes them, the content's before the row's. A stage that is
    writing the item ends first, and everything it wrote goes too.

    Returns:
        The mark, that of an earlier call where the row is gone already; None where there never was one.
    """
    names = {"user_id": user_id, "item_id": item_id}
    known = database.fetch_one(ROW, names)
    for _ in range(ATTEMPTS if known else 0):
        with database.transaction() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %(wait)s, true)", {"wait": f"{WAIT_SECONDS}s"})
            erasures.refuse_erased(cursor, user_id)
            seen: str | None = known["sha256"] if known else None
            items.hold_contents(cursor, user_id, [seen])
            known = cursor.execute(ROW + " FOR UPDATE", names).fetchone()
            if known is None:
                break
            if known["sha256"] != seen:  # another version of it was processed in the meantime
                continue
            cursor.execute(MARK, {**names, "object_key": known["object_key"]})
            items.pass_on(cursor, user_id, item_id)
            cursor.execute(FORGET, {**names, "sha256": seen})
            cursor.execute(REMOVE, names)
        return Marked(finished=False)
    if known is not None:
        raise TransientError("the item keeps changing")
    marked = database.fetch_one(MARKED, names)
    return Marked(marked["objects_removed_at"] is not None) if marked else None
