"""Every night: describe anew what is stale, compare objects with rows, expire abandoned uploads."""

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

from functions.nightly import abandoned
from shared import bus, launching
from shared.envelopes import Message, respond
from shared.runs import RunInput
from shared.settings import Settings

logger = Logger()


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    budget_usd: float = Field(alias="NIGHTLY_BUDGET_USD", ge=0)


def process(day: str) -> dict[str, Any]:
    env = Env.load()
    asked = [
        RunInput.model_validate(
            {
                "run_id": run_id("stale", day),
                "kind": "nightly",
                "select": {"stale": True},
                "stages": ["analyze", "embed"],
                "max_cost_usd": env.budget_usd,
                "trim": True,
                "reason": "described by an older prompt or another model",
            }
        ),
        RunInput.model_validate({"run_id": run_id("objects", day), "kind": "check", "check": "objects"}),
    ]
    for run in asked:
        launching.start(run)
    expired = abandoned.expire(env.uploads_bucket)
    bus.publish_each(expired)
    logger.info("night's work begun", runs=len(asked), expired=len(expired))
    return {"runs": [str(run.run_id) for run in asked], "expired": len(expired)}


def run_id(what: str, day: str) -> UUID:
    """Return the id of a night's run: the same, however often the night's schedule fires."""
    return uuid5(NAMESPACE_URL, f"magpie:nightly:{what}:{day}")


class Scheduled(BaseModel):
    """What a schedule says: nothing but that it is time."""


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def begin(_: Message[Scheduled]) -> dict[str, Any]:
        # A night's work that comes again in the small hours has the same ids, and so is the same.
        return process(f"{datetime.now(UTC):%Y-%m-%d}")

    return respond(event, context, Scheduled, begin)
