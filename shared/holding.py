"""Items that do not fit into what their owner may have: they wait as `over_quota`, and lose nothing.

A held item counts as being in the status that it goes on from (`held_status`): a stage that is told of it
tries again, and either it fits by now or nothing changes. The sweeper sends on what has room.
"""

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from shared import items, quotas
from shared.events import LimitedMeter, QuotaReached, Stage
from shared.quotas import DEPLOYMENT, OverQuotaError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

OVER_QUOTA: Literal["over_quota"] = "over_quota"
"""The status of an item that waits, the word for it on the timeline, and what a stage answers with."""

# One that waits for the same already stays as it is: `updated_at` says since when.
HOLD = """
UPDATE items
   SET status = 'over_quota', held_status = %(held_status)s, error_code = %(code)s,
       error_message = %(message)s, updated_at = now()
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
   AND (status, held_status, error_code) IS DISTINCT FROM ('over_quota', %(held_status)s, %(code)s)
"""

NO_BYTES = """
UPDATE items SET counted_bytes = 0 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""


def code(error: OverQuotaError) -> LimitedMeter:
    """Return what is waited for, as it stands in `items.error_code`."""
    if error.owner == DEPLOYMENT:
        return "deployment"
    assert error.meter != "scans"  # noqa: S101 - no item waits for a scan
    return error.meter


def period(error: OverQuotaError) -> str:
    """Return the month whose money is used up; nothing where it is not money."""
    return quotas.period(error.resets_at - timedelta(days=1)) if error.resets_at else ""


def hold(
    cursor: "Cursor[DictRow]",
    user_id: str,
    item_id: UUID,
    stage: Stage,
    held_status: Literal["pending", "processed", "analyzed"],
    error: OverQuotaError,
    *,
    object_version: str | None,
    wanted: Decimal | None = None,
) -> None:
    """Let an item wait, whose row is locked. `reached` is to be published after the commit.

    Args:
        held_status: the status that it goes on from.
        wanted: US dollars that it needs by itself, where the error speaks of several together.
    """
    said, month = code(error), period(error)
    detail: dict[str, Any] = {"code": said, "message": error.sentence}
    if error.meter == "model_usd":
        detail["wanted"] = str(error.wanted if wanted is None else wanted)
    values = {"user_id": user_id, "item_id": item_id, "held_status": held_status}
    cursor.execute(HOLD, {**values, "code": said, "message": error.sentence})
    items.record(
        cursor,
        user_id,
        item_id,
        stage,
        OVER_QUOTA,
        object_version=object_version,
        occurrence=f"{said} {month}".rstrip(),
        detail=detail,
    )


def reached(user_id: str, error: OverQuotaError) -> QuotaReached:
    """Return the event that says what a user waits for."""
    return QuotaReached(
        user_id=user_id,
        meter=code(error),
        period=period(error),
        limit=float(error.limit),
        used=float(error.used),
        resets_at=error.resets_at,
    )


def free_bytes(cursor: "Cursor[DictRow]", user_id: str, item_id: UUID, counted_bytes: int) -> None:
    """Give back the storage of an item that has no object and ends so. It stays one of its owner's items.

    Args:
        cursor: of a transaction that holds the item, and takes no further item.
        counted_bytes: as the row says.
    """
    if counted_bytes:
        cursor.execute(NO_BYTES, {"user_id": user_id, "item_id": item_id})
        quotas.adjust(cursor, user_id, "storage_bytes", -counted_bytes)
