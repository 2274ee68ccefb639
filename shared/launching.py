"""Start runs: whoever lets people or schedules ask for work over many items."""

import json

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from shared import clients, database, erasures, runs
from shared.errors import TransientError
from shared.runs import RunInput
from shared.settings import Settings


class RunsEnv(Settings):
    """Where executions are started."""

    state_machine: str = Field(alias="STATE_MACHINE_ARN")


STARTED = """
UPDATE scan_runs SET execution_arn = %(arn)s
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND execution_arn IS DISTINCT FROM %(arn)s
"""


def create(asked: RunInput) -> None:
    """Write the row of a run; the second time it is there.

    Raises:
        AccountDeletedError: everything of its owner was erased.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, asked.owner)
        cursor.execute(runs.CREATE, runs.row(asked))


def launch(asked: RunInput) -> str:
    """Start the execution of a run whose row is there, and return its ARN; the second time it runs already.

    Raises:
        TransientError: Step Functions or the database did not answer.
    """
    machine, name = RunsEnv.load().state_machine, str(asked.run_id)
    try:
        clients.stepfunctions().start_execution(
            stateMachineArn=machine, name=name, input=json.dumps(asked.as_json(), sort_keys=True)
        )
    except ClientError as error:
        # It ran before, and has ended: once is enough.
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise TransientError("the execution was not started") from error
    except BotoCoreError as error:
        raise TransientError("Step Functions did not answer") from error
    arn = runs.execution_arn(machine, name)
    with database.transaction() as cursor:
        cursor.execute(STARTED, {"user_id": asked.owner, "run_id": asked.run_id, "arn": arn})
    return arn


def start(asked: RunInput) -> None:
    """Make a run and start it; harmless to do twice.

    Raises:
        TransientError: as `launch`. A row that stays behind is started by the sweeper.
    """
    create(asked)
    launch(asked)
