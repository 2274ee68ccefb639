"""The caller's runs: how they are started, stopped, listed and read."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.api.cursor import Cursor
from shared import database, launching, progress, runs
from shared.runs import RunInput

if TYPE_CHECKING:
    from psycopg.rows import DictRow

MAX_OPEN = 10
"""Runs of one person at a time: each may keep every model and every connection busy."""
SHOWN_FAILURES = 20

_COLUMNS = """
SELECT user_id, run_id, scan_id, kind, request, status, error_code, error_message, execution_arn, estimate,
       planned_items, summary, report_key, created_at, started_at, finished_at
  FROM scan_runs
"""

ONE = _COLUMNS + "WHERE user_id = %(user_id)s AND run_id = %(run_id)s"

LIST = (
    _COLUMNS
    + """
 WHERE user_id = %(user_id)s
   AND (%(scan_id)s::uuid IS NULL OR scan_id = %(scan_id)s)
   AND (%(created_at)s::timestamptz IS NULL
        OR (created_at, run_id) < (%(created_at)s::timestamptz, %(before)s::uuid))
 ORDER BY created_at DESC, run_id DESC
 LIMIT %(limit)s
"""
)

OPEN = """
SELECT count(*) AS runs FROM scan_runs
 WHERE user_id = %(user_id)s AND finished_at IS NULL AND run_id <> %(run_id)s
"""

CANCEL = """
UPDATE scan_runs SET status = 'cancelled', finished_at = now(),
       error_code = 'cancelled', error_message = 'It was cancelled.'
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND finished_at IS NULL
"""


def one(user_id: str, run_id: UUID) -> "DictRow | None":
    """Return one of a user's runs, None where the user has no such run."""
    return database.fetch_one(ONE, {"user_id": user_id, "run_id": run_id})


def page(
    user_id: str, limit: int, after: Cursor | None = None, scan_id: UUID | None = None
) -> "list[DictRow]":
    """Return at most `limit` of a user's runs, newest first; of one scan, where it is given."""
    return database.fetch_all(
        LIST,
        {
            "user_id": user_id,
            "scan_id": scan_id,
            "created_at": after.created_at if after else None,
            "before": after.item_id if after else None,
            "limit": limit,
        },
    )


def too_many(user_id: str, run_id: UUID) -> bool:
    """Say whether a user has as many other runs going as anybody may."""
    found = database.fetch_one(OPEN, {"user_id": user_id, "run_id": run_id})
    return found is not None and found["runs"] >= MAX_OPEN


def cancel(user_id: str, run_id: UUID) -> None:
    """Stop a run. What it is just doing ends by itself; one that has ended stays as it ended.

    The row first: an execution that was to be started just now is not started any more.

    Raises:
        TransientError: Step Functions did not answer; the same again finishes it.
    """
    with database.transaction() as cursor:
        cursor.execute(CANCEL, {"user_id": user_id, "run_id": run_id})
    found = one(user_id, run_id)
    if found is not None and found["status"] == "cancelled":
        machine = launching.RunsEnv.load().state_machine
        arn = found["execution_arn"] or runs.execution_arn(machine, str(run_id))
        runs.stop(arn, "It was cancelled.")


def standing(row: "DictRow", now: datetime) -> dict[str, Any]:
    """Return the counts, causes and cost of a run, and the seconds that it will still take.

    Of a run that has been reported, what the report says; of one at work, what there is by now.
    """
    if row["summary"] is not None:
        return {**row["summary"], "seconds_left": None}
    tally = progress.tally(row["user_id"], row["run_id"])
    planned = row["planned_items"]
    left = max(planned - tally.finished, 0) if planned is not None else None
    seconds = None
    if row["finished_at"] is None and row["started_at"] and left is not None and tally.finished:
        seconds = round((now - row["started_at"]).total_seconds() / tally.finished * left)
    return {
        "items": {"planned": planned, **tally.items, "left": left},
        "stages": tally.stages,
        "causes": progress.causes(row["user_id"], row["run_id"]),
        "cost_usd": tally.cost_usd,
        "seconds_left": seconds,
    }


def asked(row: "DictRow") -> RunInput:
    """Return what a run was asked to do."""
    return RunInput.model_validate(row["request"])
