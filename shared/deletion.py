"""The end of a deletion: when the row of an item is gone, its objects go, and its mark says so.

Whoever deletes an item does it at once; what somebody left half-done is finished in the night.
docs/decisions/0011-deleting-an-item.md
"""

from uuid import UUID

from shared import database, items, objects
from shared.objects import Removed

WAIT_SECONDS = 5
"""How long is waited for somebody who is just finishing the same deletion."""

HELD = """
SELECT object_key FROM deleted_items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s AND objects_removed_at IS NULL
   FOR UPDATE
"""

FINISH = """
UPDATE deleted_items SET objects_removed_at = now()
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""


def finish(user_id: str, item_id: UUID, uploads_bucket: str, media_bucket: str) -> Removed | None:
    """Remove every version of the objects of a deleted item, and say so on its mark.

    The mark is held meanwhile: once it says that they are gone, an operator's key may be used again, and
    what is there then is another item's.

    Returns:
        What is gone; None where somebody else has finished it.

    Raises:
        TransientError: S3 or the database gave up. The same again goes on.
    """
    names = {"user_id": user_id, "item_id": item_id}
    with database.transaction() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %(wait)s, true)", {"wait": f"{WAIT_SECONDS}s"})
        mark = cursor.execute(HELD, names).fetchone()
        if mark is None:
            return None
        removed = [
            objects.remove_versions(uploads_bucket, mark["object_key"], exactly=True),
            objects.remove_versions(media_bucket, items.image_key(user_id, item_id), exactly=True),
            objects.remove_versions(media_bucket, items.thumbnail_key(user_id, item_id), exactly=True),
        ]
        cursor.execute(FINISH, names)
    return Removed(sum(each.versions for each in removed), sum(each.size for each in removed))
