"""Items that wait until they fit: what there is room for now goes on, the oldest of each owner first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.sweeper import queues
from functions.sweeper.rows import Stuck
from functions.sweeper.stillness import STAGES
from shared import database, items, quotas
from shared.quotas import NANODOLLAR, Quota

if TYPE_CHECKING:
    from psycopg.rows import DictRow

logger = Logger(child=True)

AT_ONCE = 500
"""Items in one sweep; the next one is five minutes away."""
MONEY = ("model_usd", "deployment")

# Everybody's, by owner and what is waited for: of many thousand items one line. Who waits longest comes
# first.
WAITING_OF_ALL = """
SELECT user_id, error_code AS meter, min(updated_at) AS since FROM items
 WHERE status = 'over_quota'
 GROUP BY user_id, error_code
 ORDER BY since, user_id, meter
"""

WAITING = """
SELECT user_id, error_code AS meter, min(updated_at) AS since FROM items
 WHERE user_id = %(user_id)s AND status = 'over_quota'
 GROUP BY user_id, error_code
 ORDER BY since, user_id, meter
"""

# What each of them needs is known: its bytes by its row, its money by what did not fit when it was tried.
OLDEST = """
SELECT items.user_id, items.item_id, items.held_status, items.object_key, items.object_version,
       items.correlation_id, greatest(coalesce(items.file_size, 0) - items.counted_bytes, 0) AS bytes,
       (SELECT (line.detail ->> 'wanted')::numeric FROM item_events AS line
         WHERE line.user_id = items.user_id AND line.item_id = items.item_id
           AND line.event = 'over_quota' AND line.detail ? 'wanted'
         ORDER BY line.event_id DESC
         LIMIT 1) AS usd
  FROM items
 WHERE items.user_id = %(user_id)s AND items.status = 'over_quota' AND items.error_code = %(meter)s
   AND (%(bytes)s::bigint IS NULL
        OR coalesce(items.file_size, 0) - items.counted_bytes <= %(bytes)s::bigint)
 ORDER BY items.created_at, items.item_id
 LIMIT %(limit)s
"""

# In one order for everybody, and without what a stage is just at.
RESUME = """
WITH going AS (
    SELECT user_id, item_id FROM items
     WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[]) AND status = 'over_quota'
     ORDER BY item_id
       FOR UPDATE SKIP LOCKED
)
UPDATE items
   SET status = held_status, held_status = NULL, error_code = NULL, error_message = NULL, updated_at = now()
  FROM going
 WHERE items.user_id = going.user_id AND items.item_id = going.item_id
RETURNING items.item_id
"""


@dataclass(frozen=True)
class Waiting:
    """What some items of one user wait for, and since when."""

    user_id: str
    meter: str
    since: datetime


@dataclass(frozen=True)
class Room:
    """What there is left of something; None where there is no end to it."""

    left: Decimal | None

    def holds(self, amount: Decimal) -> bool:
        return self.left is None or amount <= self.left

    def less(self, amount: Decimal) -> "Room":
        return self if self.left is None else replace(self, left=self.left - amount)


def resume(user_id: str | None, anyway_seconds: float, go_on: Callable[[], bool]) -> int:
    """Send on what there is room for, and return how many items that were.

    Whoever has no room costs a look at their counters. What an item needs is what did not fit when it was
    tried: should that have become less since, one of each owner is tried again after a while.

    Args:
        user_id: of whom; None for everybody.
        anyway_seconds: after which one is tried as long as anything is left.
        go_on: says whether there is time for another owner.

    Raises:
        TransientError: SQS or the database did not answer.
    """
    if user_id is None:
        found = database.fetch_all(WAITING_OF_ALL, {})
    else:
        found = database.fetch_all(WAITING, {"user_id": user_id})
    waiting = [Waiting(**row) for row in found]
    resumed = 0
    everybody = Room(_left(quotas.budget()))
    share = max(AT_ONCE // max(len(waiting), 1), 1)
    for each in waiting:
        if resumed >= AT_ONCE or not go_on():
            break
        room = room_of(each, everybody)
        if not room.holds(NANODOLLAR):
            continue
        going, needed = fitting(each, room, share, anyway_seconds)
        if going:
            resumed += send_on(each, going)
        if each.meter in MONEY:
            everybody = everybody.less(needed)
    return resumed


def room_of(waiting: Waiting, everybody: Room) -> Room:
    """Return what is left of what is waited for; of money the less of one's own and of everybody's."""
    meter = "model_usd" if waiting.meter in MONEY else waiting.meter
    (own,) = (_left(quota) for quota in quotas.standing(waiting.user_id) if quota.meter == meter)
    lefts = [own, everybody.left] if meter == "model_usd" else [own]
    return Room(min((left for left in lefts if left is not None), default=None))


def _left(quota: Quota) -> Decimal | None:
    return None if quota.limit is None else quota.limit - quota.used


def fitting(waiting: Waiting, room: Room, most: int, anyway_seconds: float) -> tuple[list[Stuck], Decimal]:
    """Return the oldest items that fit together, and what they need."""
    names = {"user_id": waiting.user_id, "meter": waiting.meter, "limit": most}
    whole = room.left if waiting.meter == "storage_bytes" else None
    rows = database.fetch_all(OLDEST, {**names, "bytes": whole})
    going: list[Stuck] = []
    needed = Decimal(0)
    for row in rows:
        needs = _needs(waiting.meter, row["bytes"], row["usd"])
        if room.holds(needed + needs):
            needed += needs
            going.append(_stuck(row))
    still = (datetime.now(UTC) - waiting.since).total_seconds()
    if rows and not going and still > anyway_seconds:
        going.append(_stuck(rows[0]))
    return going, needed


def send_on(waiting: Waiting, going: Sequence[Stuck]) -> int:
    """Let items go on from where they were, and tell their stages; returns how many that were.

    What is not told, because SQS did not answer, sits still from now on, and is swept like all such.
    """
    with database.transaction() as cursor:
        cursor.execute(RESUME, {"user_id": waiting.user_id, "item_ids": [item.item_id for item in going]})
        moved: set[UUID] = {row["item_id"] for row in cursor.fetchall()}
        resumed = [item for item in going if item.item_id in moved]
        with cursor.connection.pipeline():  # the timeline's lines without waiting for each
            for item in resumed:
                items.record(
                    cursor,
                    item.user_id,
                    item.item_id,
                    "sweeper",
                    "resumed",
                    object_version=item.object_version,
                    occurrence=f"{waiting.meter} {waiting.since:%Y-%m-%d}",
                    detail={"code": waiting.meter},
                )
    for item in resumed:
        queues.send(STAGES[item.status], item)
    logger.info("items go on", user_id=waiting.user_id, meter=waiting.meter, items=len(resumed))
    return len(resumed)


def _needs(meter: str, size: int, usd: Decimal | None) -> Decimal:
    if meter == "items":
        return Decimal(1)
    return Decimal(size) if meter == "storage_bytes" else max(usd or NANODOLLAR, NANODOLLAR)


def _stuck(row: "DictRow") -> Stuck:
    return Stuck(
        user_id=row["user_id"],
        item_id=row["item_id"],
        status=row["held_status"],
        object_key=row["object_key"],
        object_version=row["object_version"],
        correlation_id=row["correlation_id"],
        still_seconds=0,
        times=0,
    )
