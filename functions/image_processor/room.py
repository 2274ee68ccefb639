"""Decide whether an original fits into what its owner may have, before anything is made of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.image_processor import catalogue
from functions.image_processor.catalogue import STAGE, Original
from functions.image_processor.upload import Upload, to_do
from shared import database, holding, quotas
from shared.errors import TransientError
from shared.quotas import OverQuotaError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

COUNT = """
UPDATE items SET counted = %(counted)s, counted_bytes = %(counted_bytes)s
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

# What it goes on with once there is room, and how much it needs.
NOTE = """
UPDATE items
   SET object_key = %(key)s, object_version = %(version)s, object_sequencer = %(sequencer)s,
       file_size = %(size)s
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""


def take(
    upload: Upload,
    original: Original,
    known: Mapping[str, Any] | None,
    correlation_id: str,
    deleted_at: datetime | None = None,
) -> tuple[Mapping[str, Any], OverQuotaError | None]:
    """Make the item if there is none, and count it and the size of its original, if they fit.

    The row says what is counted, so that a second delivery counts nothing again. What does not fit waits
    as `over_quota`, with nothing made of it and nothing lost.

    Args:
        known, deleted_at: what was found in the item's place before its original was read.

    Returns:
        The row as it was held, and why it waits; None where it does not.

    Raises:
        AccountDeletedError: nothing is made for this user any more.
        TransientError: the item is gone since it was looked at, or the database gave up.
    """
    if known is not None and _is_counted(known, original):
        return known, None
    error: OverQuotaError | None = None
    with database.transaction() as cursor:
        row = catalogue.enter(cursor, upload, original, known, correlation_id, deleted_at)
        if to_do(upload, row) == "render":
            error = _count(cursor, row, original)
            if error is not None:
                _hold(cursor, upload, row, original, error)
    return row, error


def settle(cursor: "Cursor[DictRow]", row: Mapping[str, Any], original: Original) -> None:
    """Give back what is counted above the size of the original that the row speaks of now.

    Raises:
        TransientError: an older version of the object has been counted in its place meanwhile.
    """
    size = row["counted_bytes"] if original.size is None else original.size
    if not row["counted"] or size > row["counted_bytes"]:
        raise TransientError("another version of the object was counted meanwhile")
    if size < row["counted_bytes"]:
        _write(cursor, row, counted=True, counted_bytes=size)
        quotas.adjust(cursor, row["user_id"], "storage_bytes", size - row["counted_bytes"])


def _is_counted(row: Mapping[str, Any], original: Original) -> bool:
    return bool(row["counted"]) and original.size in (None, row["counted_bytes"])


def _count(cursor: "Cursor[DictRow]", row: Mapping[str, Any], original: Original) -> OverQuotaError | None:
    """Count what fits: the item, and its bytes once it is counted itself."""
    user_id, counted, counted_bytes = row["user_id"], row["counted"], row["counted_bytes"]
    error: OverQuotaError | None = None
    try:
        if not counted:
            quotas.reserve(cursor, user_id, "items", 1)
            counted = True
        # What is counted too much is given back at the end, with the row of the picture.
        if original.size is not None and original.size > counted_bytes:
            quotas.reserve(cursor, user_id, "storage_bytes", original.size - counted_bytes)
            counted_bytes = original.size
    except OverQuotaError as refusal:
        error = refusal
    if (counted, counted_bytes) != (row["counted"], row["counted_bytes"]):
        _write(cursor, row, counted, counted_bytes)
    return error


def _hold(
    cursor: "Cursor[DictRow]",
    upload: Upload,
    row: Mapping[str, Any],
    original: Original,
    error: OverQuotaError,
) -> None:
    cursor.execute(
        NOTE,
        {
            "user_id": upload.user_id,
            "item_id": upload.item_id,
            "key": original.key,
            "version": original.version,
            "sequencer": upload.sequencer or row["object_sequencer"],
            "size": original.size,
        },
    )
    holding.hold(
        cursor,
        upload.user_id,
        upload.item_id,
        STAGE,
        "pending",
        error,
        object_version=original.version,
    )


def _write(cursor: "Cursor[DictRow]", row: Mapping[str, Any], counted: bool, counted_bytes: int) -> None:
    names = {"user_id": row["user_id"], "item_id": row["item_id"]}
    cursor.execute(COUNT, {**names, "counted": counted, "counted_bytes": counted_bytes})
