"""Every night: describe anew what is stale, compare objects with rows, finish and tidy what the day left."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

from functions.nightly import abandoned, forgotten, unfinished
from shared import launching
from shared.envelopes import Message, respond
from shared.errors import TransientError
from shared.runs import RunInput
from shared.settings import Settings

logger = Logger()

RESERVE_SECONDS = 30.0
"""Kept back from the time-out, for the batch that is being worked on. What is not done comes tomorrow."""

Chore = Callable[[], int]


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")
    budget_usd: float = Field(alias="NIGHTLY_BUDGET_USD", ge=0)


def process(day: str, seconds_left: Callable[[], float]) -> dict[str, Any]:
    env = Env.load()
    asked = runs_of(day, env)
    for run in asked:
        launching.start(run)
    done: dict[str, int] = {}
    failed: list[str] = []
    for name, chore in chores(env, lambda: seconds_left() > RESERVE_SECONDS).items():
        try:
            done[name] = chore()
        except TransientError as error:
            logger.warning("not done yet", chore=name, reason=str(error))
            failed.append(name)
    logger.info("night's work", runs=len(asked), done=done)
    if failed:
        # Only now: what one of them stumbles over is no reason to leave out the others.
        raise TransientError(f"not done yet: {', '.join(failed)}")
    return {"runs": [str(run.run_id) for run in asked], **done}


def runs_of(day: str, env: Env) -> list[RunInput]:
    """Return the runs of a night."""
    stale = {
        "run_id": run_id("stale", day),
        "kind": "nightly",
        "select": {"stale": True},
        "stages": ["analyze", "embed"],
        "max_cost_usd": env.budget_usd,
        "trim": True,
        "reason": "described by an older prompt or another model",
    }
    objects = {"run_id": run_id("objects", day), "kind": "check", "check": "objects"}
    return [RunInput.model_validate(stale), RunInput.model_validate(objects)]


def chores(env: Env, go_on: Callable[[], bool]) -> Mapping[str, Chore]:
    """Return what is done each night, by the name that its count has in the log.

    Args:
        go_on: says whether there is time for another batch.
    """
    return {
        "expired": partial(abandoned.expire, env.uploads_bucket, go_on),
        "deletions": partial(unfinished.deletions, env.uploads_bucket, env.media_bucket, go_on),
        "erasures": unfinished.erasures,
        "marks": partial(forgotten.rows, forgotten.MARKS_OF_ALL, go_on),
        "receipts": partial(forgotten.rows, forgotten.RECEIPTS_OF_ALL, go_on),
        "results": partial(forgotten.rows, forgotten.RESULTS_OF_ALL, go_on),
        "findings": partial(forgotten.rows, forgotten.FINDINGS_OF_ALL, go_on),
        "webhooks": partial(forgotten.rows, forgotten.WEBHOOKS_OF_ALL, go_on),
        "mails": partial(forgotten.rows, forgotten.MAILS_OF_ALL, go_on),
        "mail_events": partial(forgotten.rows, forgotten.MAIL_EVENTS_OF_ALL, go_on),
        "old_runs": partial(forgotten.runs, env.media_bucket, go_on),
    }


def run_id(what: str, day: str) -> UUID:
    """Return the id of a night's run: the same, however often the night's schedule fires."""
    return uuid5(NAMESPACE_URL, f"magpie:nightly:{what}:{day}")


class Scheduled(BaseModel):
    """What a schedule says: nothing but that it is time."""


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def begin(_: Message[Scheduled]) -> dict[str, Any]:
        # A night's work that comes again in the small hours has the same ids, and so is the same.
        return process(f"{datetime.now(UTC):%Y-%m-%d}", lambda: context.get_remaining_time_in_millis() / 1000)

    return respond(event, context, Scheduled, begin)
