"""An item's row, as this stage reads and writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.image_processor.rendition import Rendition
from functions.image_processor.upload import Upload, awaits_picture
from shared import database, erasures, holding, items
from shared.errors import RejectedError, TransientError
from shared.events import ImageProcessed, ItemEvent, ItemRejected, Stage
from shared.text import clean, storable

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

STAGE: Stage = "image_processor"
CHANGED = "the item was changed while its picture was read"
GONE = RejectedError("gone", "The file was removed before it could be processed.")

ROW = """
SELECT items.*,
       EXISTS (SELECT FROM item_events AS line
                WHERE line.user_id = items.user_id AND line.item_id = items.item_id
                  AND line.stage = 'image_processor' AND line.event = 'processed'
                  AND line.object_version = coalesce(items.object_version, '')
                  AND line.occurrence = %(run)s) AS rendered_by_run,
       EXISTS (SELECT FROM analyses
                WHERE analyses.user_id = items.user_id AND analyses.item_id = items.item_id
                  AND analyses.object_version = coalesce(items.object_version, '')
                  AND analyses.run_id = %(run_id)s) AS analyzed_by_run,
       EXISTS (SELECT FROM deleted_items AS gone
                WHERE gone.user_id = items.user_id AND gone.item_id = items.item_id
                  AND gone.deleted_at IS DISTINCT FROM %(deleted_at)s) AS deleted
  FROM items
 WHERE items.user_id = %(user_id)s AND items.item_id = %(item_id)s
"""

# What stands between an object without an item and an item: its user's end, or its own.
BAR = """
SELECT erasures.user_id IS NOT NULL AS erased, gone.deleted_at, gone.objects_removed_at
  FROM (SELECT %(item_id)s::uuid AS item_id) AS asked
  LEFT JOIN erasures ON erasures.user_id = %(user_id)s
  LEFT JOIN deleted_items AS gone ON gone.user_id = %(user_id)s AND gone.item_id = asked.item_id
"""

DESCRIBED = (
    "format",
    "width",
    "height",
    "perceptual_hash",
    "dominant_colours",
    "captured_at",
    "camera",
    "location",
    "duplicate_of",
    "image_width",
    "image_height",
    "thumbnail_width",
    "thumbnail_height",
)
"""Columns that tell of a picture, and are null where there is none."""


@dataclass(frozen=True)
class Original:
    """What was found in the uploads bucket.

    Attributes:
        size, sha256: None where the object was too large to be read.
        outcome: its rendition, or why there is none; None as long as nobody has tried.
    """

    key: str
    version: str | None
    size: int | None
    sha256: str | None
    outcome: Rendition | RejectedError | None = None


@dataclass(frozen=True)
class Bar:
    """What was found in an item's place.

    Attributes:
        holds: nothing may be made of the object, and it is to be removed.
        deleted_at: when an item of this id was deleted, where the object is a new one all the same.
    """

    holds: bool
    deleted_at: datetime | None = None


def bar(upload: Upload, row: Mapping[str, Any] | None) -> Bar:
    """Return what keeps an object that has no item from becoming one.

    What comes under a key that the API minted belongs to that one item, and is gone with it, for good.
    An operator chooses keys, and may use one again: once a deletion has removed all that was under it,
    what is there now has been put there since.
    """
    if row is not None or upload.key is None or upload.is_folder:
        return Bar(holds=False)
    found = database.fetch_one(BAR, _names(upload))
    assert found is not None  # noqa: S101 - it has exactly one row
    if found["erased"]:
        return Bar(holds=True)
    minted = upload.key == items.uploads_key(upload.user_id, upload.item_id)
    deleted, removed = found["deleted_at"], found["objects_removed_at"]
    return Bar(holds=deleted is not None and (minted or removed is None), deleted_at=deleted)


def find(upload: Upload) -> Mapping[str, Any] | None:
    """Return the item's row, with whether this re-run has rendered and analysed it already."""
    return database.fetch_one(ROW, _names(upload))


def enter(
    cursor: "Cursor[DictRow]",
    upload: Upload,
    original: Original,
    known: Mapping[str, Any] | None,
    correlation_id: str,
    deleted_at: datetime | None = None,
) -> Mapping[str, Any]:
    """Make the row if there is none, and hold it until the commit.

    Args:
        known: the row as it was when the item was looked at.
        deleted_at: of an item that was deleted before the object was put, as `bar` found it.

    Raises:
        AccountDeletedError: nothing is made for this user any more.
        TransientError: the item is gone since it was looked at.
    """
    erasures.refuse_erased(cursor, upload.user_id)
    if (
        upload.key and known is None
    ):  # an item that was only named is not made again when it was deleted meanwhile
        cursor.execute(
            """
            INSERT INTO items (user_id, item_id, filename, object_key, correlation_id)
            VALUES (%(user_id)s, %(item_id)s, %(filename)s, %(key)s, %(correlation_id)s)
            ON CONFLICT (user_id, item_id) DO NOTHING
            """,
            {
                **_names(upload),
                "filename": clean(upload.filename or upload.key),
                "key": original.key,
                "correlation_id": correlation_id,
            },
        )
    # A deletion that this transaction had to wait for has left its mark, which this statement sees.
    names = {**_names(upload), "deleted_at": deleted_at}
    row = cursor.execute(ROW + " FOR UPDATE OF items", names).fetchone()
    if row is None or row["deleted"]:
        raise TransientError(CHANGED)
    if deleted_at:
        cursor.execute(
            "DELETE FROM deleted_items WHERE user_id = %(user_id)s AND item_id = %(item_id)s", names
        )
    return row


def lock(
    cursor: "Cursor[DictRow]", upload: Upload, original: Original, known: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Hold the row, and its place among duplicates, until the commit.

    The contents come first, in order, then the row: so two workers of this stage never wait for each
    other, nor for whoever deletes the item.

    Args:
        known: the row as it was when the item was looked at.

    Raises:
        AccountDeletedError: nothing is made for this user any more.
        TransientError: the item got another content since it was looked at, or is gone.
    """
    before = known["sha256"]
    erasures.refuse_erased(cursor, upload.user_id)
    items.hold_contents(cursor, upload.user_id, [before, original.sha256])
    row = cursor.execute(ROW + " FOR UPDATE OF items", _names(upload)).fetchone()
    if row is None or row["deleted"] or row["sha256"] not in {None, before, original.sha256}:
        raise TransientError(CHANGED)
    return row


def accept(
    cursor: "Cursor[DictRow]", upload: Upload, row: Mapping[str, Any], original: Original, took: timedelta
) -> None:
    """Write what is known of the picture on its row, which moves on to this version of the object."""
    rendition = original.outcome
    assert isinstance(rendition, Rendition)  # noqa: S101 - what else is accepted
    described = {
        "format": rendition.format,
        "width": rendition.width,
        "height": rendition.height,
        "perceptual_hash": rendition.perceptual_hash,
        "dominant_colours": _json(rendition.dominant_colours),
        "captured_at": rendition.metadata.captured_at,
        "camera": rendition.metadata.camera,
        "location": _json(rendition.metadata.location),
        "duplicate_of": _first_of_content(cursor, upload, original),
        "image_width": rendition.image_size[0],
        "image_height": rendition.image_size[1],
        "thumbnail_width": rendition.thumbnail_size[0],
        "thumbnail_height": rendition.thumbnail_size[1],
    }
    _write(cursor, upload, row, original, described)
    items.record(
        cursor,
        upload.user_id,
        upload.item_id,
        STAGE,
        "processed",
        object_version=original.version,
        occurrence=_run(upload),
        took=took,
        detail={
            "sha256": original.sha256,  # whoever deletes the item finds here what else there was of it
            "format": rendition.format,
            "width": rendition.width,
            "height": rendition.height,
            "duplicate_of": str(described["duplicate_of"]) if described["duplicate_of"] else None,
        },
    )


def reject(cursor: "Cursor[DictRow]", upload: Upload, row: Mapping[str, Any], original: Original) -> None:
    """End the item with this version of the object, and forget what was known of an older one."""
    assert isinstance(original.outcome, RejectedError)  # noqa: S101 - what else is rejected
    _write(cursor, upload, row, original, dict.fromkeys(DESCRIBED))
    items.end(cursor, upload.user_id, upload.item_id, STAGE, "rejected", original.outcome, original.version)


def keep(cursor: "Cursor[DictRow]", upload: Upload, original: Original) -> None:
    """Note on the timeline that a re-run came to nothing: it takes nothing away."""
    error = original.outcome
    assert isinstance(error, RejectedError)  # noqa: S101 - what else is only noted
    items.record(
        cursor,
        upload.user_id,
        upload.item_id,
        STAGE,
        "kept",
        object_version=original.version,
        occurrence=f"{error.code} {_run(upload)}",
        detail={"code": error.code, "message": error.sentence},
    )


def lose(upload: Upload) -> list[ItemEvent]:
    """Note that the original is gone. An item that never was more than this upload ends as `failed`.

    An object that has no item, because an operator took it away again, leaves no trace.

    Returns:
        What to publish; a second delivery publishes it again.
    """
    with database.transaction() as cursor:
        row = cursor.execute(ROW + " FOR UPDATE OF items", _names(upload)).fetchone()
        if row is None:
            return []
        if awaits_picture(row) or row["error_code"] == GONE.code:
            end = items.end(cursor, upload.user_id, upload.item_id, STAGE, "failed", GONE, upload.version)
            holding.free_bytes(cursor, upload.user_id, upload.item_id, row["counted_bytes"])
            return [end]
        items.record(cursor, upload.user_id, upload.item_id, STAGE, "gone", object_version=upload.version)
        return []


def note_order(upload: Upload) -> None:
    """Give a row that learnt of its object without a sequencer the one that S3 tells now."""
    database.fetch_one(
        """
        UPDATE items SET object_sequencer = %(sequencer)s
         WHERE user_id = %(user_id)s AND item_id = %(item_id)s AND object_sequencer = ''
           AND object_version IS NOT DISTINCT FROM %(version)s
        RETURNING item_id
        """,
        {**_names(upload), "sequencer": upload.sequencer, "version": upload.version},
    )


def unannounced(row: Mapping[str, Any], upload: Upload, media_bucket: str) -> list[ItemEvent]:
    """Return the events that the row gives rise to, but for those that a later stage has acted upon."""
    name: dict[str, Any] = {"user_id": row["user_id"], "item_id": row["item_id"]}
    if row["status"] == "rejected":
        return [
            ItemRejected(
                **name,
                object_version=row["object_version"],
                stage=STAGE,
                code=row["error_code"],
                message=row["error_message"],
            )
        ]
    asked_by_run = upload.run_id and row["rendered_by_run"] and not row["analyzed_by_run"]
    if not upload.announce or (row["status"] != "processed" and not asked_by_run):
        return []
    return [
        ImageProcessed(
            **name,
            object_version=row["object_version"],
            bucket=media_bucket,
            image_key=items.image_key(**name),
            thumbnail_key=items.thumbnail_key(**name),
            width=row["width"],
            height=row["height"],
            duplicate_of=row["duplicate_of"],
            run_id=upload.run_id,
        )
    ]


def takes_over(row: Mapping[str, Any], original: Original) -> bool:
    """Say whether this is another object than the one that the row speaks of, if it speaks of any."""
    return awaits_picture(row) or bool(row["object_version"] != original.version)


def _write(
    cursor: "Cursor[DictRow]",
    upload: Upload,
    row: Mapping[str, Any],
    original: Original,
    described: dict[str, Any],
) -> None:
    """Update the row. What was said of another version goes; of the same one, analyses stay."""
    new = takes_over(row, original) or isinstance(original.outcome, RejectedError)
    kept = not new and row["status"] in {"analyzed", "ready", "failed", holding.OVER_QUOTA}
    cursor.execute(
        """
        UPDATE items
           SET status = %(status)s, held_status = %(held_status)s,
               error_code = %(error_code)s, error_message = %(error_message)s,
               object_key = %(key)s, object_version = %(version)s, object_sequencer = %(sequencer)s,
               file_size = %(size)s, sha256 = %(sha256)s,
               format = %(format)s, width = %(width)s, height = %(height)s,
               perceptual_hash = %(perceptual_hash)s, dominant_colours = %(dominant_colours)s,
               captured_at = %(captured_at)s, camera = %(camera)s, location = %(location)s,
               duplicate_of = %(duplicate_of)s,
               image_width = %(image_width)s, image_height = %(image_height)s,
               thumbnail_width = %(thumbnail_width)s, thumbnail_height = %(thumbnail_height)s,
               analysis_version = %(analysis_version)s, updated_at = now()
         WHERE user_id = %(user_id)s AND item_id = %(item_id)s
        """,
        {
            **_names(upload),
            **described,
            "status": row["status"] if kept else "processed",
            "held_status": row["held_status"] if kept else None,
            "error_code": row["error_code"] if kept else None,
            "error_message": row["error_message"] if kept else None,
            "analysis_version": None if new else row["analysis_version"],
            "key": original.key,
            "version": original.version,
            "sequencer": upload.sequencer or row["object_sequencer"],
            "size": original.size,
            "sha256": original.sha256,
        },
    )
    if new:
        cursor.execute(
            "DELETE FROM embeddings WHERE user_id = %(user_id)s AND item_id = %(item_id)s", _names(upload)
        )
    if row["sha256"] is not None and (row["sha256"] != original.sha256 or described["width"] is None):
        items.pass_on(cursor, upload.user_id, upload.item_id)
    cursor.execute("SELECT refresh_search_document(%(user_id)s, %(item_id)s)", _names(upload))


def _first_of_content(cursor: "Cursor[DictRow]", upload: Upload, original: Original) -> Any:
    """Return the user's other item that had these bytes first; the lock on the content keeps it so."""
    first = cursor.execute(
        """
        SELECT item_id FROM items
         WHERE user_id = %(user_id)s AND sha256 = %(sha256)s AND item_id <> %(item_id)s
           AND duplicate_of IS NULL AND status <> 'rejected'
         ORDER BY created_at, item_id
         LIMIT 1
        """,
        {**_names(upload), "sha256": original.sha256},
    ).fetchone()
    return first["item_id"] if first else None


def _names(upload: Upload) -> dict[str, Any]:
    return {
        "user_id": upload.user_id,
        "item_id": upload.item_id,
        "run_id": upload.run_id,
        "run": _run(upload),
        "deleted_at": None,
    }


def _run(upload: Upload) -> str:
    """What a re-run is called on the timeline; '' for the first time."""
    return f"run {upload.run_id}" if upload.run_id else ""


def _json(value: Any) -> Any:
    from psycopg.types.json import Jsonb

    return None if value is None else Jsonb(storable(value))
