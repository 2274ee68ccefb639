"""Start the scans that are due, each once."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from functions.scan_tick import due
from shared import launching
from shared.envelopes import Message, respond
from shared.errors import TransientError

logger = Logger()

MOST = 500
"""Scans of one tick; the next one is a minute away."""


def process(now: datetime) -> dict[str, int]:
    started = 0
    while started < MOST:
        run = due.take(now)
        if run is None:
            break
        try:
            launching.launch(run)
        except TransientError as error:
            # Its row is there: the sweeper starts it.
            logger.warning("scan not started yet", run_id=str(run.run_id), reason=str(error))
        started += 1
        logger.info("scan started", scan_id=str(run.scan_id), run_id=str(run.run_id))
    return {"started": started}


class Scheduled(BaseModel):
    """What a schedule says: nothing but that it is time."""


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def tick(_: Message[Scheduled]) -> dict[str, int]:
        return process(datetime.now(UTC))

    return respond(event, context, Scheduled, tick)
