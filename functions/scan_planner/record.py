"""What the planner writes on a run's row."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from functions.scan_planner.plan import Estimate, RunRefusedError
from shared import database, erasures, runs
from shared.runs import RunInput

BEGIN = """
UPDATE scan_runs
   SET status = 'running', execution_arn = %(arn)s, started_at = now(), finished_at = NULL,
       error_code = NULL, error_message = NULL, summary = NULL, report_key = NULL
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND status <> 'cancelled'
RETURNING run_id
"""

ESTIMATED = """
UPDATE scan_runs SET estimate = %(estimate)s, planned_items = %(planned)s
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
"""

PLANNED = """
UPDATE scan_runs SET planned_items = %(planned)s
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
"""

REFUSED = """
UPDATE scan_runs
   SET status = 'failed', error_code = %(code)s, error_message = %(message)s, finished_at = now()
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
"""

DRY = """
UPDATE scan_runs SET status = 'planned', finished_at = now()
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
"""


def begin(asked: RunInput, execution: str) -> None:
    """Say that a run is at work. One that is begun once more forgets how it ended, not what it did.

    Raises:
        RunRefusedError: it was cancelled.
        AccountDeletedError: everything of its owner was erased.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, asked.owner)
        cursor.execute(runs.CREATE, runs.row(asked))
        cursor.execute(BEGIN, {"user_id": asked.owner, "run_id": asked.run_id, "arn": execution})
        if cursor.fetchone() is None:
            raise RunRefusedError("cancelled", "The run was cancelled.")


@contextmanager
def writing(user_id: str) -> Iterator[None]:
    """Let an object of somebody come to be, who cannot be erased before it has.

    Planning takes up to a minute; as long as that no erasure is to wait, so it looks again at the end.

    Raises:
        AccountDeletedError: everything of the owner was erased in the meantime.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        yield


def estimated(user_id: str, run_id: UUID, found: Estimate, limit: int | None) -> None:
    """Write down what a run takes.

    Args:
        limit: of its items, where it is trimmed.
    """
    from psycopg.types.json import Jsonb

    planned = found.items if limit is None else min(limit, found.items)
    _write(ESTIMATED, user_id, run_id, estimate=Jsonb(found.as_json()), planned=planned)


def planned(user_id: str, run_id: UUID, items: int) -> None:
    """Write down how many items a run has by now, where nobody could count them before."""
    _write(PLANNED, user_id, run_id, planned=items)


def refuse(user_id: str, run_id: UUID, error: RunRefusedError) -> None:
    """End a run that is not done as it was asked for."""
    _write(REFUSED, user_id, run_id, code=error.code, message=error.sentence)


def end_dry_run(user_id: str, run_id: UUID) -> None:
    """End a run that was only to be estimated."""
    _write(DRY, user_id, run_id)


def _write(statement: str, user_id: str, run_id: UUID, **values: object) -> None:
    with database.transaction() as cursor:
        cursor.execute(statement, {"user_id": user_id, "run_id": run_id, **values})
