"""Make the web image and the thumbnail of an uploaded picture."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.image_processor import catalogue, room, sandbox
from functions.image_processor.catalogue import Original
from functions.image_processor.rendition import Rendition, render
from functions.image_processor.upload import Upload, to_do
from shared import bus, database, holding, items, objects
from shared.envelopes import Message, respond
from shared.erasures import AccountDeletedError
from shared.errors import InvalidEventError, RejectedError
from shared.quotas import OverQuotaError
from shared.settings import Settings

logger = Logger()


class Env(Settings):
    """What the template must give."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")
    max_upload_bytes: int = Field(alias="MAX_UPLOAD_BYTES", gt=0)
    max_pixels: int = Field(alias="MAX_PIXELS", gt=0)
    keep_location: bool = Field(alias="KEEP_LOCATION")


def process(message: Message[Upload]) -> Mapping[str, Any]:
    env, upload, started = Env.load(), message.body, time.monotonic()
    if upload.bucket not in {None, env.uploads_bucket}:
        raise InvalidEventError("an object of another bucket")
    row = catalogue.find(upload)
    # The API knew of the picture before S3 did: its id goes on from the request for the upload.
    correlation_id = (upload.key and row and row["correlation_id"]) or message.correlation_id
    logger.append_keys(correlation_id=correlation_id, item_id=str(upload.item_id))

    bar = catalogue.bar(upload, row)
    if bar.holds:
        return discard(upload, env)
    action = "nothing" if upload.is_folder else to_do(upload, row)
    if action == "render":
        try:
            row, over = rendered(upload, row, env, correlation_id, started, bar.deleted_at)
        except objects.ObjectGoneError:
            logger.warning("original is gone", object_version=upload.version)
            bus.publish(catalogue.lose(upload), correlation_id)
            return {"item_id": str(upload.item_id), "status": "gone"}
        except AccountDeletedError:
            return discard(upload, env)
        if over is not None:
            return wait(upload, over, correlation_id)
    elif action == "announce" and upload.sequencer:
        catalogue.note_order(upload)
    if action == "nothing" or row is None:
        logger.info("nothing to process", object_version=upload.version)
        return {"item_id": str(upload.item_id), "status": "ignored"}

    events = catalogue.unannounced(row, upload, env.media_bucket)
    bus.publish(events, correlation_id)
    logger.info("original processed", status=row["status"], code=row["error_code"], published=len(events))
    return {
        "user_id": upload.user_id,
        "item_id": str(upload.item_id),
        "object_version": row["object_version"],
        "status": row["status"],
        "code": row["error_code"],
    }


def discard(upload: Upload, env: Env) -> Mapping[str, Any]:
    """Remove what came, or was being made, for an item or a user that was deleted: every version of it."""
    name: dict[str, Any] = {"user_id": upload.user_id, "item_id": upload.item_id}
    removed = [
        objects.remove_versions(env.media_bucket, key, exactly=True)
        for key in (items.image_key(**name), items.thumbnail_key(**name))
    ]
    if upload.key:
        removed.append(objects.remove_versions(env.uploads_bucket, upload.key, exactly=True))
    logger.info("objects of a deleted item removed", versions=sum(each.versions for each in removed))
    return {"item_id": str(upload.item_id), "status": "deleted"}


def wait(upload: Upload, over: OverQuotaError, correlation_id: str) -> Mapping[str, Any]:
    """Say that an upload waits, because it does not fit into what its owner may have."""
    logger.warning("over quota", meter=holding.code(over), user_id=upload.user_id)
    bus.publish([holding.reached(upload.user_id, over)], correlation_id)
    return {
        "user_id": upload.user_id,
        "item_id": str(upload.item_id),
        "status": holding.OVER_QUOTA,
        "code": holding.OVER_QUOTA,
        "reason": over.sentence,
    }


def rendered(
    upload: Upload,
    known: Mapping[str, Any] | None,
    env: Env,
    correlation_id: str,
    started: float,
    deleted_at: datetime | None,
) -> tuple[Mapping[str, Any] | None, OverQuotaError | None]:
    """Make of an original what is to be made of it, if there is room for it.

    The original lies in a file that never has a name: nothing is left of it, even when this process is
    killed.

    Args:
        known, deleted_at: what was found in the item's place.

    Returns:
        As `settle`, and why it waits; None where it does not.

    Raises:
        ObjectGoneError: it is not there any more.
        AccountDeletedError: nothing is made for this user any more.
        TransientError: S3 or the database did not answer, or the decoder was interrupted.
    """
    with tempfile.TemporaryFile() as file:
        path = Path(f"/proc/self/fd/{file.fileno()}")
        original = read(upload, known or {}, env, path)
        row, over = room.take(upload, original, known, correlation_id, deleted_at)
        if over is not None:
            return row, over
        if (action := to_do(upload, row)) != "render":  # somebody else was faster
            return row if action == "announce" else None, None
        if original.outcome is None:
            original = replace(original, outcome=tried(path, env))
    if isinstance(original.outcome, Rendition) and original.outcome.metadata.damaged:
        logger.info("metadata cannot be read", parts=original.outcome.metadata.damaged)
    return settle(upload, row, original, env, started), None


def read(upload: Upload, known: Mapping[str, Any], env: Env, path: Path) -> Original:
    """Download the original. One that is too large is not read, and cannot be used."""
    key: str = upload.key or known["object_key"]
    version: str | None = upload.version if upload.key else known["object_version"]
    try:
        stored = objects.download(env.uploads_bucket, key, version, path, env.max_upload_bytes)
    except objects.ObjectTooLargeError:
        sentence = f"The file is larger than {env.max_upload_bytes:,} bytes."
        return Original(key, version, upload.size, None, RejectedError("too_large", sentence))
    return Original(key, version if upload.key else stored.version, stored.size, stored.sha256)


def tried(path: Path, env: Env) -> Rendition | RejectedError:
    """Render a file, and return what came of it."""
    try:
        return sandbox.run(partial(render, path, env.max_pixels, env.keep_location))
    except RejectedError as error:
        return error


def settle(
    upload: Upload,
    known: Mapping[str, Any],
    original: Original,
    env: Env,
    started: float,
) -> Mapping[str, Any] | None:
    """Write derivatives and row while the row is locked: an older version can never overwrite a newer.

    Args:
        known: the item as it was when its original was counted.

    Returns:
        The row as it is now; None where a newer version of the object was faster.
    """
    name: dict[str, Any] = {"user_id": upload.user_id, "item_id": upload.item_id}
    image, thumbnail = items.image_key(**name), items.thumbnail_key(**name)
    with database.transaction() as cursor:
        row = catalogue.lock(cursor, upload, original, known)
        action = to_do(upload, row)
        if action != "render":  # somebody else was faster
            return row if action == "announce" else None
        if isinstance(original.outcome, Rendition):
            assert original.sha256  # noqa: S101 - only what was too large was not read
            objects.write(env.media_bucket, image, original.outcome.image, "image/jpeg", original.sha256)
            objects.write(
                env.media_bucket, thumbnail, original.outcome.thumbnail, "image/webp", original.sha256
            )
            took = timedelta(seconds=time.monotonic() - started)
            catalogue.accept(cursor, upload, row, original, took)
        elif row["image_width"] and not catalogue.takes_over(row, original):
            catalogue.keep(cursor, upload, original)
        else:
            if row["image_width"]:  # of an older picture, of which the row says nothing any more
                objects.remove(env.media_bucket, image)
                objects.remove(env.media_bucket, thumbnail)
            catalogue.reject(cursor, upload, row, original)
        room.settle(cursor, row, original)
    return catalogue.find(upload)


@logger.inject_lambda_context(clear_state=True)  # the keys of the item before
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, Upload, process)
