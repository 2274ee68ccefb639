"""Runs whose end nobody heard of, and runs that were never started."""

import json
from itertools import chain
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, ValidationError

from shared import clients, database, launching, runs
from shared.errors import TransientError
from shared.runs import RunInput
from shared.settings import Settings

logger = Logger(child=True)

PAGE = 100

# Everybody's. A run that was made just now is being started by whoever made it.
OPEN_OF_ALL = """
SELECT user_id, run_id, request, execution_arn, status, created_at FROM scan_runs
 WHERE (finished_at IS NULL OR status IN ('cancelled', 'failed') AND report_key IS NULL)
   AND coalesce(finished_at, started_at, created_at) < now() - interval '10 minutes'
   AND created_at > now() - interval '60 days'
   AND (%(after_created_at)s::timestamptz IS NULL
        OR (created_at, user_id, run_id)
           > (%(after_created_at)s::timestamptz, %(after_user_id)s, %(after_run_id)s))
 ORDER BY created_at, user_id, run_id
 LIMIT %(limit)s
"""


class ReporterEnv(Settings):
    """Where the reporter waits for messages."""

    queue: str = Field(alias="SCAN_REPORTER_QUEUE")


def settle() -> int:
    """Start what was not started, and have reported what has ended; returns how many runs that were.

    Raises:
        TransientError: Step Functions, SQS or the database did not answer.
    """
    settled = 0
    # Page by page: those that go on for days hide none behind them.
    pages = database.pages(OPEN_OF_ALL, {}, ("created_at", "user_id", "run_id"), PAGE)
    for row in chain.from_iterable(pages):
        arn = row["execution_arn"] or runs.execution_arn(
            launching.RunsEnv.load().state_machine, str(row["run_id"])
        )
        try:
            status = runs.describe(arn)["status"]
        except runs.ExecutionGoneError:
            settled += _start(row)
            continue
        if status != "RUNNING":
            _report(arn)
            settled += 1
    return settled


def _start(row: dict[str, Any]) -> bool:
    """Start a run that has no execution: its maker died before it had one, or the stack was stopped."""
    if row["status"] not in ("queued", "running"):
        return False
    try:
        asked = RunInput.model_validate(row["request"])
    except ValidationError:
        logger.error("a run that cannot be started", run_id=str(row["run_id"]))
        return False
    launching.launch(asked.model_copy(update={"run_id": row["run_id"]}))
    logger.info("run started again", run_id=str(row["run_id"]))
    return True


def _report(arn: str) -> None:
    """Tell the reporter of an execution that has ended, as EventBridge would have."""
    message = {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Step Functions Execution Status Change",
        "source": "magpie.sweeper",
        "resources": [arn],
        "detail": {"executionArn": arn},
    }
    try:
        clients.sqs().send_message(QueueUrl=ReporterEnv.load().queue, MessageBody=json.dumps(message))
    except (ClientError, BotoCoreError) as error:
        raise TransientError("SQS did not take a message") from error
