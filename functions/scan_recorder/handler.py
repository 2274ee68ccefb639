"""Write down how one item of a run went; a failure so that the Map counts it."""

from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel, ValidationError

from functions.scan_recorder import store
from functions.scan_recorder.verdict import Failure, judge
from shared.errors import InvalidEventError, MagpieError, TransientError
from shared.events import UserId

logger = Logger()


class ItemFailedError(MagpieError):
    """The item failed and that is written down: its execution is to fail too, for the Map to count it."""


class Outcome(BaseModel):
    """What the state machine says of one item.

    Attributes:
        results: of each stage that answered, `status`, `code` and `reason`.
        failure: of the stage that raised; its `redrive` is the number of redrives at that time.
        redrive: the number of redrives by now.
    """

    run_owner: UserId
    run_id: UUID
    user_id: UserId
    item_id: UUID
    began_at: AwareDatetime
    results: dict[str, dict[str, Any]] = {}
    failure: Failure | None = None
    redrive: int = 0


def process(said: Outcome) -> dict[str, Any]:
    logger.append_keys(run_id=str(said.run_id), item_id=str(said.item_id))
    if said.failure is not None and said.redrive > said.failure.redrive:
        store.again(said.run_owner, said.run_id)
        logger.info("item begins again")
        return {"again": True}
    verdict = judge(said.results, said.failure)
    store.keep(said.run_owner, said.run_id, said.user_id, said.item_id, said.began_at, verdict)
    if said.failure is not None:
        logger.warning("item failed", stage=verdict.stage, code=verdict.code)
        raise ItemFailedError(f"{verdict.stage}: {verdict.code}")
    logger.info("item recorded", outcome=verdict.outcome)
    return {"outcome": verdict.outcome}


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    try:
        return process(Outcome.model_validate(event))
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise InvalidEventError(f"not the outcome of an item: {wrong}") from None
    except TransientError as error:
        # The state machine tries again what has exactly this name.
        raise TransientError(str(error)) from error
