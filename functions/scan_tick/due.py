"""Take a scan that is due and make its run, in one transaction: two ticks at once never take the same."""

from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from shared import database, erasures, runs, schedules
from shared.runs import RunInput
from shared.schedules import Schedule, ScheduleError

logger = Logger(child=True)

# Everybody's. Who holds one has it; the others pass on.
DUE_OF_ALL = """
SELECT user_id, scan_id, work, schedule, zone, next_run_at, last_run_id FROM scans
 WHERE enabled AND next_run_at <= %(now)s
 ORDER BY next_run_at, scan_id
 LIMIT 1
   FOR UPDATE SKIP LOCKED
"""

TAKEN = """
UPDATE scans
   SET next_run_at = %(next_run_at)s, last_run_at = %(now)s, last_run_id = %(run_id)s
 WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s
"""

PASSED_OVER = """
UPDATE scans SET next_run_at = %(next_run_at)s
 WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s
"""

GOING = """
SELECT FROM scan_runs
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND finished_at IS NULL
"""

BROKEN = """
UPDATE scans SET enabled = false, next_run_at = NULL
 WHERE user_id = %(user_id)s AND scan_id = %(scan_id)s
"""


def take(now: datetime) -> RunInput | None:
    """Return the run of a scan that is due, whose row is made; None where none is due.

    However many times were missed, it runs once, and then at its next time after now. While its run before
    is still going, its time passes: two of them would do the same work side by side.

    Raises:
        TransientError: the database gave up.
    """
    while True:
        with database.transaction() as cursor:
            row = cursor.execute(DUE_OF_ALL, {"now": now}).fetchone()
            if row is None:
                return None
            names = {"user_id": row["user_id"], "scan_id": row["scan_id"]}
            try:
                run = _run(row)
                following = schedules.next_after(
                    Schedule.model_validate(row["schedule"]), row["zone"], max(now, row["next_run_at"])
                )
                erasures.refuse_erased(cursor, row["user_id"])
            except (ValidationError, ScheduleError, erasures.AccountDeletedError) as error:
                # Nothing that the API lets in; it must not hold up everybody else's.
                logger.error("scan paused", scan_id=str(row["scan_id"]), error=type(error).__name__)
                cursor.execute(BROKEN, names)
                continue
            last = {"user_id": row["user_id"], "run_id": row["last_run_id"]}
            if cursor.execute(GOING, last).fetchone() is not None:
                logger.warning("scan is still running", scan_id=str(row["scan_id"]))
                cursor.execute(PASSED_OVER, {**names, "next_run_at": following})
                continue
            cursor.execute(runs.CREATE, runs.row(run))
            cursor.execute(TAKEN, {**names, "next_run_at": following, "now": now, "run_id": run.run_id})
            return run


def _run(row: dict[str, Any]) -> RunInput:
    return RunInput.model_validate(
        {
            **row["work"],
            "user_id": row["user_id"],
            "scan_id": row["scan_id"],
            "run_id": run_id(row["scan_id"], row["next_run_at"]),
            "kind": "scan",
        }
    )


def run_id(scan_id: UUID, due_at: datetime) -> UUID:
    """Return the id of the run of a scan that was due at a time: one for each."""
    return uuid5(NAMESPACE_URL, f"magpie:scan:{scan_id}:{due_at.timestamp():.0f}")
