"""Delete everything of a user who asked for it, see that nothing is left, and sign the receipt."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, field_validator

from functions.eraser import belongings, receipt, rows, sign_in, work
from shared.envelopes import Message, respond
from shared.errors import TransientError
from shared.events import Contract, UserId
from shared.runs import EVERYBODY
from shared.settings import Settings

logger = Logger()

RESERVE_SECONDS = 30
"""Kept back from the time-out, for the step that is being taken."""
ROUNDS = 3
"""How often what a late writer has left is looked for before the message goes back to its queue."""


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")
    user_pool_id: str = Field(alias="USER_POOL_ID")


class ToErase(Contract):
    """What `ErasureRequested` says, or a direct payload.

    Without an erasure's id, whoever calls asks for one themselves: an operator who got a letter.
    """

    user_id: UserId
    erasure_id: UUID | None = None

    @field_validator("user_id")
    @classmethod
    def _is_somebody(cls, user_id: str) -> str:
        if user_id == EVERYBODY:  # below that name lie the files of everybody's runs
            raise ValueError("this is nobody's id")
        return user_id


def process(message: Message[ToErase], seconds_left: Callable[[], float]) -> Mapping[str, Any]:
    env, user_id = Env.load(), message.body.user_id
    asked = receipt.asked(user_id, message.body.erasure_id)
    if asked is None:
        logger.warning("nobody asked for this erasure", erasure_id=str(message.body.erasure_id))
        return {"status": "ignored"}
    logger.append_keys(erasure_id=str(asked["erasure_id"]))

    def go_on() -> None:
        if seconds_left() < RESERVE_SECONDS:
            raise TransientError("out of time; the next delivery goes on from here")

    sign_in.end(env.user_pool_id, user_id)
    work.stop(user_id)
    buckets = (env.uploads_bucket, env.media_bucket)
    for _ in range(ROUNDS):
        # Rows first: without its row no item gets new objects.
        rows.erase(user_id, go_on)
        belongings.erase(buckets, user_id, go_on)
        left = rows.left(user_id) + belongings.left(buckets, user_id)
        if not left:
            done = receipt.sign(user_id)
            logger.info("everything of a user was erased", removed=done["removed"])
            return {"status": "erased", "erasure_id": str(done["erasure_id"]), "removed": done["removed"]}
        logger.warning("something is left", where=left)
    raise TransientError("something of an erased user is still there")


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    return respond(
        event, context, ToErase, partial(process, seconds_left=lambda: deadline - time.monotonic())
    )
