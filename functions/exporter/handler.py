"""Copy everything of a user who asked for it into one file, for them to download."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.exporter import record, tables
from functions.exporter.archive import Archive
from functions.exporter.originals import Buckets
from shared.envelopes import Message, respond
from shared.erasures import AccountDeletedError
from shared.errors import MagpieError
from shared.events import Contract, UserId
from shared.settings import Settings

logger = Logger()

RESERVE_SECONDS = 30
"""Kept back from the time-out, for saying that it took too long."""
TOO_MUCH = "This is more than fits into the time there is. Whoever runs this deployment can copy it for you."


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")


class ToExport(Contract):
    """What `ExportRequested` says, or a direct payload."""

    user_id: UserId
    export_id: UUID


class OutOfTimeError(MagpieError):
    """A copy is of one moment: it cannot go on in another run, and another would take as long."""


def process(message: Message[ToExport], seconds_left: Callable[[], float]) -> Mapping[str, Any]:
    env, asked = Env.load(), message.body
    logger.append_keys(export_id=str(asked.export_id))
    if not record.is_running(asked.user_id, asked.export_id):
        logger.info("nothing to export")
        return {"status": "ignored"}
    try:
        return copy(asked, env, seconds_left)
    except OutOfTimeError:
        logger.error("export does not fit into the time-out")
        record.fail(asked.user_id, asked.export_id, TOO_MUCH)
        return {"status": "failed"}
    except AccountDeletedError:
        logger.info("account was deleted meanwhile")
        return {"status": "ignored"}


def copy(asked: ToExport, env: Env, seconds_left: Callable[[], float]) -> Mapping[str, Any]:
    """Write the file, and then say that it is there.

    Raises:
        OutOfTimeError: nothing is left of the file.
        AccountDeletedError: likewise.
        TransientError: likewise; S3 or the database gave up.
    """
    buckets = Buckets(env.uploads_bucket, env.media_bucket)
    with Archive.open(env.media_bucket, record.key(asked.user_id, asked.export_id)) as archive:
        with tables.snapshot(asked.user_id) as snapshot:
            for line in snapshot.lines(buckets, datetime.now(UTC)):
                archive.write(line)
                if seconds_left() < RESERVE_SECONDS:
                    raise OutOfTimeError
        archive.finish()
        if not record.succeed(asked.user_id, asked.export_id, archive, snapshot.counts):
            logger.info("somebody else was faster")
            return {"status": "ignored"}
    counts = dict(snapshot.counts)
    logger.info("export written", bytes=archive.size, counts=counts)
    return {"status": "succeeded", "bytes": archive.size, "sha256": archive.sha256, "counts": counts}


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    return respond(
        event, context, ToExport, partial(process, seconds_left=lambda: deadline - time.monotonic())
    )
