"""Decide how a run ended and what its report says; write both on its row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from shared import database, progress, runs
from shared.events import RunOutcome, ScanComplete
from shared.runs import RunInput
from shared.text import storable

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

logger = Logger(child=True)

SHOWN_FAILURES = 1000
"""Items that the report names; the rest are in the table."""
SHOWN_FINDINGS = 1000
NO_ORIGINAL = "none"
"""A report is no derivative of an original."""

STATUS: Mapping[str, RunOutcome] = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "TIMED_OUT": "timed_out",
    "ABORTED": "cancelled",
}
"""Step Functions' words for the end of an execution, and ours."""

SENTENCES = {
    "States.ExceedToleratedFailureThreshold": ("too_many_failures", "Too many of its items failed."),
    "States.ItemReaderFailed": ("manifest_unreadable", "The list of its items could not be read."),
    "AccountDeletedError": ("account_deleted", "Everything of its owner was deleted."),
}
"""What a person is told of an error that stopped a run."""

ONE = """
SELECT user_id, run_id, scan_id, kind, request, status, error_code, error_message, execution_arn, estimate,
       planned_items, created_at, started_at
  FROM scan_runs
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
"""

CLOSE = """
UPDATE scan_runs
   SET status = CASE WHEN status IN ('cancelled', 'planned') THEN status ELSE %(status)s END,
       error_code = coalesce(error_code, %(code)s), error_message = coalesce(error_message, %(message)s),
       summary = %(summary)s, report_key = %(report_key)s, finished_at = coalesce(finished_at, now())
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s
RETURNING status
"""

FINDINGS = """
SELECT user_id, kind, subject, item_id FROM scan_findings
 WHERE run_owner = %(user_id)s AND run_id = %(run_id)s AND user_id = %(user_id)s
 ORDER BY kind, subject
 LIMIT %(limit)s
"""

FINDINGS_OF_ALL = """
SELECT user_id, kind, subject, item_id FROM scan_findings
 WHERE run_owner = %(user_id)s AND run_id = %(run_id)s
 ORDER BY kind, user_id, subject
 LIMIT %(limit)s
"""

FOUND = """
SELECT kind, count(*) AS found FROM scan_findings
 WHERE run_owner = %(user_id)s AND run_id = %(run_id)s AND user_id = %(user_id)s
 GROUP BY kind
"""

FOUND_OF_ALL = """
SELECT kind, count(*) AS found FROM scan_findings
 WHERE run_owner = %(user_id)s AND run_id = %(run_id)s
 GROUP BY kind
"""


@dataclass(frozen=True)
class End:
    """How a run ended; `code` and `message` say why where it did not succeed."""

    owner: str
    run_id: UUID
    status: RunOutcome
    code: str | None = None
    message: str | None = None
    execution: str | None = None


def end_of(execution: str) -> End | None:
    """Return how the run of an execution ended; None where it goes on, or is no run of ours.

    Asked anew, for the event may be late: the execution may have been redriven since.

    Raises:
        TransientError: Step Functions did not answer.
    """
    try:
        found = runs.describe(execution)
        asked = RunInput.model_validate_json(found.get("input") or "{}")
    except (runs.ExecutionGoneError, ValidationError):
        logger.error("an execution that no run can be told from", execution=execution)
        return None
    status = STATUS.get(found["status"])
    if status is None:
        return None
    code = message = None
    if status != "succeeded":
        code, message = explained(status, str(found.get("error") or ""))
    return End(asked.owner, runs.id_of(execution, asked), status, code, message, execution)


def explained(status: str, error: str) -> tuple[str, str]:
    """Return the code and the sentence for how a run ended that did not succeed."""
    if status == "cancelled":
        return "cancelled", "It was cancelled."
    if status == "timed_out" or error == "States.Timeout":
        return "timed_out", "It took longer than a run may."
    return SENTENCES.get(error, ("broken", f"It broke off: {error or 'for an unknown reason'}."))


def find(end: End) -> "DictRow | None":
    """Return the run's row; None where there is none, or another execution has taken the run over."""
    row = database.fetch_one(ONE, {"user_id": end.owner, "run_id": end.run_id})
    if row is not None and end.execution and row["execution_arn"] not in (None, end.execution):
        return None
    return row


def report(row: "DictRow", end: End) -> dict[str, Any]:
    """Return what the report says, JSON-ready: counts, causes, cost, and the items that went wrong."""
    owner, run_id = end.owner, end.run_id
    tally = progress.tally(owner, run_id)
    planned = row["planned_items"]
    names = {"user_id": owner, "run_id": run_id}
    request = row["request"]
    return {
        "run_id": str(run_id),
        "owner": owner,
        "kind": row["kind"],
        "scan_id": str(row["scan_id"]) if row["scan_id"] else None,
        "status": row["status"] if row["status"] in ("cancelled", "planned") else end.status,
        "error": {"code": row["error_code"] or end.code, "message": row["error_message"] or end.message},
        "reason": request.get("reason", ""),
        "stages": request.get("stages", []),
        "check": request.get("check"),
        "estimate": row["estimate"],
        "started_at": row["started_at"] and row["started_at"].isoformat(),
        "reported_at": datetime.now(UTC).isoformat(),
        "items": {
            "planned": planned,
            **tally.items,
            "left": max(planned - tally.finished, 0) if planned is not None else None,
        },
        "by_stage": tally.stages,
        "causes": progress.causes(owner, run_id),
        "cost_usd": tally.cost_usd,
        "findings": {
            each["kind"]: each["found"]
            for each in database.fetch_all(runs.whose(owner, FOUND, FOUND_OF_ALL), names)
        },
        "found": [
            {**each, "item_id": each["item_id"] and str(each["item_id"])}
            for each in database.fetch_all(
                runs.whose(owner, FINDINGS, FINDINGS_OF_ALL), {**names, "limit": SHOWN_FINDINGS}
            )
        ],
        "failures": [
            {**each, "item_id": str(each["item_id"]), "ended_at": each["ended_at"].isoformat()}
            for each in progress.failures(owner, run_id, SHOWN_FAILURES)
        ],
    }


def as_json(found: Mapping[str, Any]) -> bytes:
    """Return the report as a file."""
    return json.dumps(storable(dict(found)), indent=2).encode()


def close(cursor: "Cursor[DictRow]", end: End, found: Mapping[str, Any], key: str) -> RunOutcome:
    """Write the end of a run and its counts on its row; returns the status that it has now.

    A run that was cancelled while it was reported stays cancelled.
    """
    from psycopg.types.json import Jsonb

    summary = {
        "items": found["items"],
        "stages": found["by_stage"],
        "causes": found["causes"],
        "cost_usd": found["cost_usd"],
        "findings": found["findings"],
    }
    row = cursor.execute(
        CLOSE,
        {
            "user_id": end.owner,
            "run_id": end.run_id,
            "status": end.status,
            "code": end.code,
            "message": end.message,
            "summary": Jsonb(storable(summary)),
            "report_key": key,
        },
    ).fetchone()
    status: RunOutcome = row["status"] if row else end.status
    return status


def event(row: "DictRow", found: Mapping[str, Any], status: RunOutcome, key: str) -> ScanComplete:
    """Return the event that says the run is over."""
    counts = found["items"]
    return ScanComplete(
        user_id=row["user_id"],
        run_id=row["run_id"],
        scan_id=row["scan_id"],
        kind=row["kind"],
        status=status,
        planned=counts["planned"],
        done=counts["done"],
        ignored=counts["ignored"],
        rejected=counts["rejected"],
        failed=counts["failed"],
        findings=sum(found["findings"].values()),
        cost_usd=found["cost_usd"],
        report_key=f"{key}.html",
    )
