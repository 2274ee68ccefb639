"""The net under lost messages: send round again what sits still, and finish what nobody finished.

What waits because it did not fit into what its owner may have is sent on here too, once there is room.
"""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

from functions.sweeper import budget, executions, held, queues, rows
from functions.sweeper.rows import Stuck
from functions.sweeper.stillness import STAGES, Todo, to_do
from shared import bus, objects, quotas
from shared.envelopes import Message, respond
from shared.events import UserId
from shared.settings import Settings

logger = Logger()

RESERVE_SECONDS = 200.0
"""A stage that is asked directly may take that long; with less time left none is begun."""


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    after_seconds: int = Field(alias="SWEEP_AFTER_SECONDS", ge=1)
    anyway_seconds: int = Field(alias="SWEEP_ANYWAY_SECONDS", ge=1)
    times: int = Field(alias="SWEEP_TIMES", ge=1)


def process(seconds_left: Callable[[], float], user_id: str | None = None) -> dict[str, int]:
    """Sweep everything; for a user whose limits have changed only what they wait for."""
    env = Env.load()
    swept = dict.fromkeys(("sent", "asked", "failed", "waiting", "runs", "expired", "resumed"), 0)
    swept["expired"] = quotas.expire()
    if user_id is None:
        budget.tell()
    swept["resumed"] = held.resume(user_id, env.anyway_seconds, lambda: seconds_left() > RESERVE_SECONDS)
    if user_id is not None:
        logger.info("swept", counts=swept)
        return swept
    swept["runs"] = executions.settle()
    for status, stage in STAGES.items():
        empty = queues.is_empty(stage)
        for item in rows.stuck(status, env.after_seconds):
            todo = to_do(item, empty, env.times, env.anyway_seconds)
            if status == "pending" and todo is not Todo.WAIT and not uploaded(item, env):
                rows.looked_at(item)  # nothing was uploaded yet, or ever: the nightly tells which
                todo = Todo.WAIT
            match todo:
                case Todo.WAIT:
                    swept["waiting"] += 1
                case Todo.SEND:
                    queues.send(stage, item)
                    rows.swept(item)
                    swept["sent"] += 1
                case Todo.ASK if seconds_left() > RESERVE_SECONDS:
                    swept["failed" if ask(item) else "asked"] += 1
    logger.info("swept", counts=swept)
    return swept


def uploaded(item: Stuck, env: Env) -> bool:
    """Say whether the original of a pending item is there."""
    return objects.exists(env.uploads_bucket, item.object_key)


def ask(item: Stuck) -> bool:
    """Ask the stage itself, for the last time; returns whether the item failed because of what it said."""
    stage = STAGES[item.status]
    error = queues.ask(stage, item)
    if error is None:
        logger.info("item done at last", item_id=str(item.item_id), stage=stage)
        rows.swept(item)
        return False
    logger.error("item given up", item_id=str(item.item_id), stage=stage, error=error)
    event = rows.give_up(item, stage, error)
    if event is not None:
        bus.publish([event], item.correlation_id or str(item.item_id))
    return event is not None


class ToSweep(BaseModel):
    """What a schedule says, which is nothing; or `LimitsChanged`, which says whose."""

    user_id: UserId | None = None


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def sweep(message: Message[ToSweep]) -> dict[str, int]:
        return process(lambda: context.get_remaining_time_in_millis() / 1000, message.body.user_id)

    return respond(event, context, ToSweep, sweep)
