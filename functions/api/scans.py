"""The caller's scans: work that comes again by itself."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.api.cursor import Cursor
from shared import database, erasures, quotas, schedules
from shared.schedules import Schedule

if TYPE_CHECKING:
    from psycopg.rows import DictRow

_COLUMNS = """
SELECT user_id, scan_id, name, work, schedule, zone, enabled, next_run_at, last_run_at, last_run_id,
       created_at, updated_at
  FROM scans
"""

ONE = _COLUMNS + "WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s"

LIST = (
    _COLUMNS
    + """
 WHERE user_id = %(user_id)s
   AND (%(created_at)s::timestamptz IS NULL
        OR (created_at, scan_id) < (%(created_at)s::timestamptz, %(before)s::uuid))
 ORDER BY created_at DESC, scan_id DESC
 LIMIT %(limit)s
"""
)

CREATE = """
INSERT INTO scans (user_id, scan_id, name, work, schedule, zone, enabled, next_run_at, counted)
VALUES (%(user_id)s, %(scan_id)s, %(name)s, %(work)s, %(schedule)s, %(zone)s, %(enabled)s, %(next_run_at)s,
        true)
    ON CONFLICT (user_id, scan_id) DO NOTHING
"""

LOCK = ONE + " FOR UPDATE"

# A time that has come already stays: whoever renames a scan between then and the tick does not miss it.
CHANGE = """
UPDATE scans
   SET name = %(name)s, work = %(work)s, schedule = %(schedule)s, zone = %(zone)s, enabled = %(enabled)s,
       next_run_at = CASE WHEN (schedule, zone, enabled) = (%(schedule)s, %(zone)s, %(enabled)s)
                          THEN next_run_at ELSE %(next_run_at)s END,
       updated_at = now()
 WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s
"""

RAN = """
UPDATE scans
   SET last_run_at = run.created_at, last_run_id = run.run_id
  FROM scan_runs AS run
 WHERE scans.user_id = %(user_id)s AND scans.scan_id = %(scan_id)s
   AND run.user_id = %(user_id)s AND run.run_id = %(run_id)s
   AND (scans.last_run_at IS NULL OR scans.last_run_at < run.created_at)
"""

REMOVE = "DELETE FROM scans WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s"

TREND = """
SELECT run_id, status, created_at, finished_at, summary FROM scan_runs
 WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s AND summary IS NOT NULL
 ORDER BY created_at DESC
 LIMIT 30
"""


def one(user_id: str, scan_id: UUID) -> "DictRow | None":
    """Return one of a user's scans, None where the user has no such scan."""
    return database.fetch_one(ONE, {"user_id": user_id, "scan_id": scan_id})


def page(user_id: str, limit: int, after: Cursor | None) -> "list[DictRow]":
    """Return at most `limit` of a user's scans, newest first."""
    return database.fetch_all(
        LIST,
        {
            "user_id": user_id,
            "created_at": after.created_at if after else None,
            "before": after.item_id if after else None,
            "limit": limit,
        },
    )


def trend(user_id: str, scan_id: UUID) -> "list[DictRow]":
    """Return what the latest reported runs of a scan came to, newest first."""
    return database.fetch_all(TREND, {"user_id": user_id, "scan_id": scan_id})


def create(user_id: str, scan_id: UUID, values: dict[str, Any]) -> None:
    """Make a scan; the second time it is there.

    Raises:
        AccountDeletedError: everything of this user was erased.
        OverQuotaError: they have as many as they may.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        made = cursor.execute(CREATE, {"user_id": user_id, "scan_id": scan_id, **_row(values)}).rowcount
        quotas.reserve(cursor, user_id, "scans", made)


def change(user_id: str, scan_id: UUID, values: dict[str, Any]) -> None:
    """Change what is said of a scan; what is not said stays, whoever else changes it just now."""
    names = {"user_id": user_id, "scan_id": scan_id}
    with database.transaction() as cursor:
        before = cursor.execute(LOCK, names).fetchone()
        if before is None:  # deleted meanwhile
            return
        cursor.execute(CHANGE, {**names, **_row({**before, **values})})


def ran(user_id: str, scan_id: UUID, run_id: UUID) -> None:
    """Say that a scan was run besides its times: its own time passes while that run is going."""
    with database.transaction() as cursor:
        cursor.execute(RAN, {"user_id": user_id, "scan_id": scan_id, "run_id": run_id})


def remove(user_id: str, scan_id: UUID) -> None:
    """Delete a scan. Its runs stay."""
    with database.transaction() as cursor:
        cursor.execute(REMOVE, {"user_id": user_id, "scan_id": scan_id})


def _row(values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a scan, with the time at which it comes next from now on."""
    from psycopg.types.json import Jsonb

    schedule = Schedule.model_validate(values["schedule"])
    following = schedules.next_after(schedule, values["zone"], datetime.now(UTC))
    return {
        "name": values["name"],
        "work": Jsonb(values["work"]),
        "schedule": Jsonb(schedule.model_dump(mode="json", exclude_none=True)),
        "zone": values["zone"],
        "enabled": values["enabled"],
        "next_run_at": following if values["enabled"] else None,
    }
