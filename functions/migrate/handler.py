"""Bring the database up to date: on every deployment as a custom resource, or by hand with `{}`."""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.migrate import custom_resource, runner
from shared import parameters
from shared.database import DatabaseEnv, connect
from shared.errors import MagpieError

logger = Logger()

RESERVE_SECONDS = 15
"""Kept back from the time-out, for telling CloudFormation that it took too long."""


def migrate(context: LambdaContext) -> list[str]:
    """Apply what is new and return the names of the files."""
    migrations = runner.find()
    seconds = max(1.0, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
    with connect(parameters.get(DatabaseEnv.load().url_parameter)) as connection:
        return runner.apply(connection, migrations, seconds)


@logger.inject_lambda_context
def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    if "ResponseURL" not in event:
        return {"applied": migrate(context)}
    data, reason = None, None
    try:
        # On Delete the stack goes and the data stays: tables are nobody's to drop.
        applied = [] if event["RequestType"] == "Delete" else migrate(context)
        data = {"Applied": ", ".join(applied)[:2000]}
    except MagpieError as error:
        logger.exception("migration refused")
        reason = str(error)
    except Exception as error:
        logger.exception("migration failed")
        reason = f"{type(error).__name__}: see the log of {context.function_name}"
    body = custom_resource.answer(event, data, reason)
    custom_resource.send(event["ResponseURL"], body)
    return {"status": body["Status"], "reason": body["Reason"]}
