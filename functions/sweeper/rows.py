"""Items that sit still, as the database knows them."""

from dataclasses import dataclass
from uuid import UUID

from shared import database, items
from shared.errors import RejectedError
from shared.events import ItemRejected, Stage

AT_ONCE = 500
"""Items of each status in one sweep; the next one is five minutes away."""

# Everybody's, of one status, the longest still first. What was swept already is looked at again after the
# same time. Each status by itself: of uploads that never come there may be thousands, which hold nobody up.
STUCK_OF_ALL = """
SELECT items.user_id, items.item_id, items.status, items.object_key, items.object_version,
       items.correlation_id, extract(epoch FROM now() - items.updated_at)::float8 AS still_seconds,
       CASE WHEN sweeps.status = items.status
                 AND sweeps.object_version = coalesce(items.object_version, '')
            THEN sweeps.times ELSE 0 END AS times
  FROM items
  LEFT JOIN sweeps ON sweeps.user_id = items.user_id AND sweeps.item_id = items.item_id
 WHERE items.status IN ('pending', 'processed', 'analyzed') AND items.status = %(status)s
   AND items.updated_at < now() - make_interval(secs => %(after)s)
   AND (sweeps.swept_at IS NULL OR sweeps.swept_at < now() - make_interval(secs => %(after)s))
 ORDER BY items.updated_at
 LIMIT %(limit)s
"""

SWEPT = """
INSERT INTO sweeps (user_id, item_id, status, object_version, times)
VALUES (%(user_id)s, %(item_id)s, %(status)s, %(object_version)s, %(times)s)
    ON CONFLICT (user_id, item_id) DO UPDATE
   SET status = excluded.status, object_version = excluded.object_version, times = excluded.times,
       swept_at = now()
"""

LOCKED = """
SELECT status, object_version FROM items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
   FOR UPDATE
"""


@dataclass(frozen=True)
class Stuck:
    """An item that has been in one state for too long.

    Attributes:
        still_seconds: since its row was changed.
        times: that it was sent round again in this state.
    """

    user_id: str
    item_id: UUID
    status: str
    object_key: str
    object_version: str | None
    correlation_id: str | None
    still_seconds: float
    times: int


def stuck(status: str, after_seconds: int) -> list[Stuck]:
    """Return items of a status that have not moved for so long, nor been swept."""
    rows = database.fetch_all(STUCK_OF_ALL, {"status": status, "after": after_seconds, "limit": AT_ONCE})
    return [Stuck(**row) for row in rows]


def swept(item: Stuck) -> None:
    """Note that an item was sent round again."""
    _note(item, item.times + 1)


def looked_at(item: Stuck) -> None:
    """Note that there was nothing to send, so that it is not looked at every five minutes."""
    _note(item, item.times)


def _note(item: Stuck, times: int) -> None:
    with database.transaction() as cursor:
        cursor.execute(
            SWEPT,
            {
                "user_id": item.user_id,
                "item_id": item.item_id,
                "status": item.status,
                "object_version": item.object_version or "",
                "times": times,
            },
        )


def give_up(item: Stuck, stage: Stage, error: str) -> ItemRejected | None:
    """End an item as failed, with the stage and what it said last; None where it has moved since.

    Args:
        error: the name of the stage's error; what else it says is in its log.
    """
    sentence = (
        f"The {stage.replace('_', ' ')} could not finish this picture ({error}), however often it tried."
    )
    with database.transaction() as cursor:
        row = cursor.execute(LOCKED, {"user_id": item.user_id, "item_id": item.item_id}).fetchone()
        if row is None or (row["status"], row["object_version"]) != (item.status, item.object_version):
            return None
        return items.end(
            cursor,
            item.user_id,
            item.item_id,
            stage,
            "failed",
            RejectedError("stuck", sentence),
            item.object_version,
        )
