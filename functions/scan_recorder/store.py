"""Keep what became of an item of a run: one row, however often it is told."""

from datetime import datetime
from uuid import UUID

from functions.scan_recorder.verdict import Verdict
from shared import database, erasures
from shared.runs import STEPS

# A run that is gone has no results any more.
KEEP = """
INSERT INTO scan_results (user_id, run_id, item_id, run_owner, outcome, on_process, on_analyze, on_embed,
                          stage, code, message, input_tokens, output_tokens, cost_usd, began_at)
SELECT %(user_id)s, %(run_id)s, %(item_id)s, %(run_owner)s, %(outcome)s, %(on_process)s, %(on_analyze)s,
       %(on_embed)s,
       %(stage)s, %(code)s, %(message)s, coalesce(sum(usage_ledger.input_tokens), 0),
       coalesce(sum(usage_ledger.output_tokens), 0), coalesce(sum(usage_ledger.cost_usd), 0), %(began_at)s
  FROM scan_runs
  LEFT JOIN usage_ledger ON usage_ledger.user_id = %(user_id)s
                        AND usage_ledger.item_id = %(item_id)s
                        AND usage_ledger.occurred_at >= %(began_at)s
 WHERE scan_runs.user_id = %(run_owner)s AND scan_runs.run_id = %(run_id)s
 GROUP BY scan_runs.user_id, scan_runs.run_id
    ON CONFLICT (user_id, run_id, item_id) DO UPDATE
   SET outcome = excluded.outcome, on_process = excluded.on_process, on_analyze = excluded.on_analyze,
       on_embed = excluded.on_embed, stage = excluded.stage, code = excluded.code, message = excluded.message,
       input_tokens = CASE WHEN scan_results.began_at = excluded.began_at THEN excluded.input_tokens
                           ELSE scan_results.input_tokens + excluded.input_tokens END,
       output_tokens = CASE WHEN scan_results.began_at = excluded.began_at THEN excluded.output_tokens
                            ELSE scan_results.output_tokens + excluded.output_tokens END,
       cost_usd = CASE WHEN scan_results.began_at = excluded.began_at THEN excluded.cost_usd
                       ELSE scan_results.cost_usd + excluded.cost_usd END,
       began_at = excluded.began_at, ended_at = now()
"""


AGAIN = """
UPDATE scan_runs
   SET status = 'running', finished_at = NULL, error_code = NULL, error_message = NULL, summary = NULL,
       report_key = NULL
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND finished_at IS NOT NULL
"""


def again(run_owner: str, run_id: UUID) -> None:
    """Say that a run which had ended is at work once more: it was redriven.

    Raises:
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        cursor.execute(AGAIN, {"user_id": run_owner, "run_id": run_id})


def keep(
    run_owner: str, run_id: UUID, user_id: str, item_id: UUID, began_at: datetime, verdict: Verdict
) -> None:
    """Write down what became of an item, and what it cost since the run began with it.

    What became of an item whose owner is erased is nobody's business any more.

    Args:
        run_owner: whose run it is; `user_id` is whose item.

    Raises:
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        if erasures.is_erased(cursor, user_id):
            return
        cursor.execute(
            KEEP,
            {
                "run_owner": run_owner,
                "run_id": run_id,
                "user_id": user_id,
                "item_id": item_id,
                "began_at": began_at,
                "outcome": verdict.outcome,
                **{f"on_{stage}": verdict.stages.get(stage) for stage in STEPS},
                "stage": verdict.stage,
                "code": verdict.code,
                "message": verdict.message,
            },
        )
