"""A user's runs that are still at work: they would go on paying for descriptions of what is being deleted."""

from shared import database, runs

_OPEN = """
SELECT execution_arn FROM scan_runs
 WHERE user_id = %(user_id)s AND finished_at IS NULL AND execution_arn IS NOT NULL
"""


def stop(user_id: str) -> None:
    """Stop the executions of a user's runs. Those that have ended stay as they are.

    Raises:
        TransientError: Step Functions or the database did not answer.
    """
    for row in database.fetch_all(_OPEN, {"user_id": user_id}):
        runs.stop(row["execution_arn"], "Its owner's account was deleted.")
