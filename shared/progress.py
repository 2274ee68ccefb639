"""How a run stands: what became of its items, stage by stage, and what it cost so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared import database
from shared.runs import STEPS, whose

if TYPE_CHECKING:
    from psycopg.rows import DictRow

OUTCOMES = ("done", "ignored", "rejected", "failed")

# A run of the operator is over everybody's items, and only the operator reads it; anybody else's is over
# their own.
_OF_ONE = """
 WHERE results.run_owner = %(user_id)s AND results.run_id = %(run_id)s AND results.user_id = %(user_id)s
"""
_OF_ALL = " WHERE results.run_owner = %(user_id)s AND results.run_id = %(run_id)s "

_COUNTED = """
SELECT results.outcome, results.on_process, results.on_analyze, results.on_embed,
       count(*) AS items, sum(results.cost_usd) AS cost_usd
  FROM scan_results AS results
"""
_BY_OUTCOME = "GROUP BY results.outcome, results.on_process, results.on_analyze, results.on_embed"
COUNTS = _COUNTED + _OF_ONE + _BY_OUTCOME
COUNTS_OF_ALL = _COUNTED + _OF_ALL + _BY_OUTCOME

_CAUSED = """
SELECT results.outcome, results.stage, results.code, count(*) AS items,
       (array_agg(results.message ORDER BY results.ended_at DESC))[1] AS message
  FROM scan_results AS results
"""
_BY_CAUSE = """
   AND results.outcome IN ('rejected', 'failed')
 GROUP BY results.outcome, results.stage, results.code
 ORDER BY items DESC, results.stage, results.code
 LIMIT 50
"""
CAUSES = _CAUSED + _OF_ONE + _BY_CAUSE
CAUSES_OF_ALL = _CAUSED + _OF_ALL + _BY_CAUSE

_FAILED = """
SELECT results.user_id, results.item_id, results.outcome, results.stage, results.code, results.message,
       results.ended_at
  FROM scan_results AS results
"""
_LATEST = """
   AND results.outcome IN ('rejected', 'failed')
 ORDER BY results.ended_at DESC, results.user_id, results.item_id
 LIMIT %(limit)s
"""
FAILURES = _FAILED + _OF_ONE + _LATEST
FAILURES_OF_ALL = _FAILED + _OF_ALL + _LATEST


@dataclass
class Tally:
    """Counts of a run.

    Attributes:
        items: by outcome.
        stages: by stage that was asked for, then by what came of it.
        cost_usd: of what the ledger holds for these items while the run worked on them.
    """

    items: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    stages: dict[str, dict[str, int]] = field(default_factory=dict)
    cost_usd: float = 0.0

    @property
    def finished(self) -> int:
        """Items that the run is through with."""
        return sum(self.items.values())


def tally(user_id: str, run_id: UUID) -> Tally:
    """Count what became of a run's items.

    Args:
        user_id: the owner of the run.
    """
    found = Tally()
    cost = 0
    for row in database.fetch_all(
        whose(user_id, COUNTS, COUNTS_OF_ALL), {"user_id": user_id, "run_id": run_id}
    ):
        found.items[row["outcome"]] += row["items"]
        cost += row["cost_usd"]
        for stage in STEPS:
            if (outcome := row[f"on_{stage}"]) is not None:
                counts = found.stages.setdefault(stage, dict.fromkeys(OUTCOMES, 0))
                counts[outcome] += row["items"]
    found.cost_usd = float(cost)
    return found


def causes(user_id: str, run_id: UUID) -> list[dict[str, Any]]:
    """Return why items failed or were rejected, by stage and code, the most frequent first."""
    statement = whose(user_id, CAUSES, CAUSES_OF_ALL)
    return [dict(row) for row in database.fetch_all(statement, {"user_id": user_id, "run_id": run_id})]


def failures(user_id: str, run_id: UUID, limit: int) -> "Sequence[DictRow]":
    """Return items that failed or were rejected, the latest first."""
    statement = whose(user_id, FAILURES, FAILURES_OF_ALL)
    return database.fetch_all(statement, {"user_id": user_id, "run_id": run_id, "limit": limit})
